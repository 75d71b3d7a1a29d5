-- As copy_plain_tasks.sql, and with the default of spec as well.
COPY tasks ({plain_columns})
FROM STDIN (FORMAT binary)
