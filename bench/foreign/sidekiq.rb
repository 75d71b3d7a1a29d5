# Producer and worker of Sidekiq: takes what bench/protocol.ts names as lines of JSON.
require "json"
require "logger"
require "sidekiq"
require "sidekiq/launcher"
require "sidekiq/processor"

QUEUE = ARGV.fetch(0)
THREADS = Integer(ARGV.fetch(1))
PAYLOAD_BYTES = 100
FRAME_BYTES = JSON.generate({ p: "" }).bytesize

def now
  Process.clock_gettime(Process::CLOCK_MONOTONIC, :float_microsecond)
end

def stamped
  { "p" => "#{now.round}|".ljust(PAYLOAD_BYTES - FRAME_BYTES, "x") }
end

def percentile(us, share)
  return nil if us.empty?
  us.sort[[(us.size * share).ceil - 1, 0].max] / 1_000
end

def timing(count, started_at, ended_at, us)
  { count: count, startedAt: started_at, endedAt: ended_at, p50: percentile(us, 0.5), p99: percentile(us, 0.99) }
end

class Tally
  attr_reader :starts, :ended, :first_at, :latencies

  def initialize
    @lock = Mutex.new
    @starts = @ended = 0
    @first_at = 0
    @latencies = []
  end

  def start(stamp)
    at = now
    @lock.synchronize do
      @first_at = at if @starts.zero?
      @starts += 1
      @latencies << at - stamp
    end
  end

  def end
    @lock.synchronize { @ended += 1 }
  end
end

class Noop
  include Sidekiq::Worker
  sidekiq_options queue: QUEUE, retry: 0

  def perform(payload)
    $tally.start(payload["p"].to_i)
  end
end

# With basic fetch a task is done when its handler returns: there is no ack.
class Counted
  def call(_worker, _task, _queue)
    yield
    $tally.end
  end
end

Sidekiq.logger.level = Logger::ERROR
redis = { url: ENV.fetch("BENCH_REDIS_URL"), size: THREADS + 10 }
Sidekiq.configure_client { |config| config.redis = redis }
Sidekiq.server_middleware { |chain| chain.add(Counted) }

# Each thread takes the next share, until none is left.
def submit_all(tasks, size, in_flight)
  lock = Mutex.new
  sent = 0
  took = []
  started_at = now
  threads = Array.new([in_flight, THREADS].min) do
    Thread.new do
      loop do
        count = lock.synchronize { [size, tasks - sent].min.tap { |share| sent += share } }
        break if count <= 0
        at = now
        yield count
        us = now - at
        lock.synchronize { took << us }
      end
    end
  end
  threads.each(&:join)
  timing(tasks, started_at, now, took)
end

def pace(tasks, per_second)
  started_at = now
  took = []
  tasks.times do |n|
    wait = started_at + n * 1e6 / per_second - now
    sleep(wait / 1e6) if wait.positive?
    at = now
    Noop.perform_async(stamped)
    took << now - at
  end
  timing(tasks, started_at, now, took)
end

def work
  $tally = Tally.new
  options = Sidekiq.options.merge(queues: [QUEUE], concurrency: THREADS, timeout: 5)
  $launcher = Sidekiq::Launcher.new(options)
  $launcher.run
  nil
end

def rest
  $launcher&.stop
  $launcher = nil
end

def until_acked(tasks)
  sleep(0.001) while $tally.ended < tasks
  timing($tally.starts, $tally.first_at, now, $tally.latencies)
end

def obey(command)
  case command["do"]
  when "single"
    submit_all(command["tasks"], 1, command["inFlight"]) { Noop.perform_async(stamped) }
  when "bulk"
    submit_all(command["tasks"], command["batch"], command["inFlight"]) do |count|
      Sidekiq::Client.push_bulk("class" => Noop, "args" => Array.new(count) { [stamped] })
    end
  when "rate" then pace(command["tasks"], command["perSecond"])
  when "work" then work
  when "acked" then until_acked(command["tasks"])
  when "rest", "end" then rest
  end
end

$stdout.sync = true
puts JSON.generate(id: 0)
$stdin.each_line do |line|
  request = JSON.parse(line)
  begin
    puts JSON.generate({ id: request["id"], answer: obey(request["command"]) }.compact)
  rescue StandardError => e
    puts JSON.generate(id: request["id"], error: "#{e.class}: #{e.message}")
  end
end
