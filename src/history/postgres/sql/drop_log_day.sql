SELECT drop_log_day($1, $2)
