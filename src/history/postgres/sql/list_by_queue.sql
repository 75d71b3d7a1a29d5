SELECT {task} FROM ids_by_queue($1, $2, $3::uuid, $4, $5) AS page (id)
JOIN tasks t ON t.id = page.id
ORDER BY t.id DESC
