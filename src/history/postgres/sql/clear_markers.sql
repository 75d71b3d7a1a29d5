DELETE FROM commit_markers WHERE id = ANY ($1::uuid[])
