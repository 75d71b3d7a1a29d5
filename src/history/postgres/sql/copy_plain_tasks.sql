-- As copy_tasks.sql: rows that have the default of every column that is not named.
COPY tasks ({plain_columns}, spec, ended_at, purge_at)
FROM STDIN (FORMAT binary)
