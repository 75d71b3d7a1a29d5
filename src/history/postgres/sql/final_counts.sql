SELECT queue, status, sum(tasks)::bigint AS tasks FROM final_counts WHERE namespace = $1
GROUP BY queue, status HAVING sum(tasks) > 0 ORDER BY queue, status
