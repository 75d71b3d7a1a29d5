#!lua flags=allow-oom
-- Log entries of these tasks stand in history: tells those who watch them (B14).
-- KEYS  1 start of the partition's keys
-- ARGV  task ids
-- @include base
news = ARGV
tell_watchers('g')
