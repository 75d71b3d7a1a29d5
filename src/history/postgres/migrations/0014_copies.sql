-- What nearly every row has, so that a COPY of such rows can leave the column out: a value that is
-- read and checked for each row costs many times a default.
ALTER TABLE tasks ALTER spec SET DEFAULT '{"durability":"relaxed"}',
  ALTER payload_type SET DEFAULT 'application/json';
