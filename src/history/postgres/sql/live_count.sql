SELECT count(*) AS tasks FROM tasks
WHERE namespace = $1 AND status = ANY ('{blocked,scheduled,pending,running,retrying}')
