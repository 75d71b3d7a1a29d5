-- Keys that go from ended tasks to those that take their place, whatever their scope.
DELETE FROM unique_keys WHERE task_id = ANY ($1::uuid[])
