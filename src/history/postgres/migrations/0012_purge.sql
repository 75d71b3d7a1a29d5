-- Rows kept for the usual seven days or longer go with the table of their day; an entry for each in
-- an index of when they may go is seldom of use. Where such a day has to stand, for the sake of
-- others in it, its rows are looked at one after the other.
DROP INDEX tasks_purge;
CREATE INDEX tasks_purge ON tasks (purge_at) WHERE purge_at - ended_at < 604800000;
-- Whether anything of a day is to be kept: some blocks to look at, as in tasks_ended.
CREATE INDEX tasks_kept ON tasks USING brin (purge_at) WITH (autosummarize = on);
