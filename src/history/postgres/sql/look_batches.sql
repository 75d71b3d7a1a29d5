SELECT {batch}, NULL AS payloads, {batch_facts}
FROM unnest($1::uuid[]) AS u (id) JOIN batches b ON b.id = u.id
