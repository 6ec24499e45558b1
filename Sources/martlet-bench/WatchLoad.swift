import JSON
import KubeClient
import Kernel
import Synchronization

/// Watchers of one ConfigMap that changes at a steady pace.
struct WatchLoad: Sendable {
  let server: BenchServer
  let watchers: Int
  let eventsPerSecond: Double

  /// Of one HTTP/2 connection; the server takes 250.
  private static let watchersPerConnection = 100
  /// After the last change, for its deliveries.
  private static let lastDeliveryTimeout: Duration = .seconds(30)
  private static let openTimeout: Duration = .seconds(60)
  private static let path = "/api/v1/namespaces/default/configmaps"

  func measure(seconds: Double, _ report: inout Report) async throws {
    let name = "watch\(watchers)"
    let object = "changing-\(watchers)"
    let writer = try APIConnection(kubeconfig: server.kubeconfig)
    let made = try await writer.document(
      KubeRequest(
        .post, Self.path, headers: [("Content-Type", "application/json")],
        body: APIObjects.configMap(object, value: "0").encoded()))
    guard made[path: "metadata", "resourceVersion"]?.string != nil else {
      throw BenchError("\(name): the created ConfigMap has no resourceVersion")
    }
    // A connection that nobody holds is closed, and its watches with it.
    // What the writes cost without anybody who watches them.
    let unwatched = try await cpuOfWrites(writer, object, seconds: min(seconds, Self.unwatchedSecondsMax))
    let (connections, streams) = try await withDeadline(Self.openTimeout, "\(name): opening the watches") {
      try await open(from: try await revision(writer, object))
    }
    let events = max(1, Int(seconds * eventsPerSecond))
    let sent = SendTimes()
    let cpu = try ProcessUse.cpuMicroseconds(server.processID)
    let clock = ContinuousClock()
    let begin = clock.now
    let (deliveries, elapsed) = try await withDeadline(
      .seconds(seconds * 4) + Self.lastDeliveryTimeout, "\(name): \(events) events for each of \(watchers) watchers"
    ) {
      try await withThrowingTaskGroup(of: [Double].self) { group in
        for stream in streams {
          group.addTask { try await Self.read(stream, events: events, sent) }
        }
        for number in 1...events {
          try await Task.sleep(until: begin + .seconds(Double(number - 1) / eventsPerSecond), clock: clock)
          let request = Self.change(object, "\(number)")
          sent.append(SystemClock.bootNanoseconds)
          try await writer.send(request)
        }
        var all = Series()
        for try await times in group { for time in times { all.add(time) } }
        return (all, begin.duration(to: clock.now).inMilliseconds / 1000)
      }
    }
    let used = try ProcessUse.cpuMicroseconds(server.processID) - cpu
    report.set("\(name)_p50_ms", deliveries.median)
    report.set("\(name)_p99_ms", deliveries.percentile(0.99))
    report.set("\(name)_cpu_us", max(0, used / Double(events) - unwatched) / Double(watchers))
    report.set("\(name)_write_cpu_us", unwatched)
    report.set("\(name)_events_per_s", Double(events) / elapsed)
    try await writer.send(KubeRequest(.delete, "\(Self.path)/\(object)"))
    withExtendedLifetime(connections) {}
  }

  private static let unwatchedSecondsMax = 3.0

  /// Microseconds of the server a write, at the pace of the events.
  private func cpuOfWrites(_ writer: APIConnection, _ object: String, seconds: Double) async throws -> Double {
    let writes = max(1, Int(seconds * eventsPerSecond))
    let cpu = try ProcessUse.cpuMicroseconds(server.processID)
    let begin = ContinuousClock.now
    for number in 1...writes {
      try await Task.sleep(until: begin + .seconds(Double(number - 1) / eventsPerSecond), clock: .continuous)
      try await writer.send(Self.change(object, "unwatched \(number)"))
    }
    return (try ProcessUse.cpuMicroseconds(server.processID) - cpu) / Double(writes)
  }

  private static func change(_ object: String, _ value: String) -> KubeRequest {
    KubeRequest(
      .put, "\(path)/\(object)", headers: [("Content-Type", "application/json")],
      body: APIObjects.configMap(object, value: value).encoded())
  }

  private func revision(_ writer: APIConnection, _ object: String) async throws -> String {
    try await writer.document(KubeRequest(.get, "\(Self.path)/\(object)"))[path: "metadata", "resourceVersion"]?.string
      ?? ""
  }

  /// Every watch, once its answer has begun.
  private func open(from revision: String) async throws -> ([APIConnection], [KubeBody]) {
    let request = KubeRequest(
      .get, Self.path, query: [("watch", "true"), ("resourceVersion", revision)], timeoutSeconds: nil)
    var connections: [APIConnection] = []
    var streams: [KubeBody] = []
    while streams.count < watchers {
      let connection = try APIConnection(kubeconfig: server.kubeconfig)
      connections.append(connection)
      for _ in 0..<min(Self.watchersPerConnection, watchers - streams.count) {
        streams.append(try await connection.begin(request).body)
      }
    }
    return (connections, streams)
  }

  /// Each event is a line. Writes are one after another, so the number of an event is that of its write.
  /// - Returns: milliseconds from write to event, of each.
  private static func read(_ stream: KubeBody, events: Int, _ sent: SendTimes) async throws -> [Double] {
    var times: [Double] = []
    for try await chunk in stream {
      let now = SystemClock.bootNanoseconds
      for byte in chunk where byte == UInt8(ascii: "\n") {
        times.append(Double(now - sent[times.count]) / 1e6)
        if times.count == events { return times }
      }
    }
    throw BenchError("a watch ended after \(times.count) of \(events) events")
  }
}

/// When each write was sent, in nanoseconds since boot.
private final class SendTimes: Sendable {
  private let times = Mutex([Int64]())

  func append(_ time: Int64) { times.withLock { $0.append(time) } }

  subscript(number: Int) -> Int64 { times.withLock { $0[number] } }
}
