DELETE FROM unique_keys WHERE expires_at <= now_ms()
