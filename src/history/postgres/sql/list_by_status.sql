-- One walk for each status, merged. Rows that wait for a time that has come read as pending, so $2
-- names the stored status and $3 what it reads as; the two differ for such rows only.
SELECT {task}
FROM (
  SELECT id FROM ids_by_status($1, $2::text[], $3::text[], $4::uuid, $5, $6, $7) AS ids (id)
  ORDER BY id DESC LIMIT $7
) page JOIN tasks t ON t.id = page.id
ORDER BY t.id DESC
