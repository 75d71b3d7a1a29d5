SELECT {task} FROM tasks t WHERE t.id = $1::uuid AND t.namespace = $2 FOR UPDATE
