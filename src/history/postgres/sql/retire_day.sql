SELECT retire_day($1, $2) AS retired
