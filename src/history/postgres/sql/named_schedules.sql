SELECT {schedule}, now_ms() AS now
FROM unnest($1::text[], $2::text[]) AS u (of_namespace, named)
JOIN schedules ON namespace = of_namespace AND name = named
