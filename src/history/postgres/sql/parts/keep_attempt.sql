  ON CONFLICT (task_id, fencing_token) DO UPDATE
  SET ended_at = excluded.ended_at, outcome = excluded.outcome, error = excluded.error
  WHERE attempts.outcome IS NULL
    OR (attempts.outcome = 'lost' AND excluded.outcome = 'completed')
