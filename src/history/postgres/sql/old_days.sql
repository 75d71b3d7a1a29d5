SELECT day, day_table('tasks', day) AS name, kept, kept_soon FROM old_days($1)
