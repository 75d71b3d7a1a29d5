SELECT day FROM old_log_days() AS day
