-- As copy_plain_tasks.sql, and with the default of spec as well.
COPY tasks ({plain_columns}, ended_at, purge_at)
FROM STDIN (FORMAT binary)
