import JSON
import KubeClient
import Kernel
import Synchronization

/// Watchers of one ConfigMap that changes at a steady pace.
struct WatchLoad: Sendable {
  let target: APITarget
  let watchers: Int
  let eventsPerSecond: Double

  /// Of one HTTP/2 connection; the server takes 250.
  private static let watchersPerConnection = 100
  /// Watches that begin at the same time on a connection.
  private static let openingMax = 20
  /// After the last change, for its deliveries.
  private static let lastDeliveryTimeout: Duration = .seconds(30)
  private static let openTimeout: Duration = .seconds(60)
  private static let path = APILoad.configMapsPath

  func measure(seconds: Double, _ report: inout Report) async throws {
    let name = "watch\(watchers)"
    let object = "changing-\(watchers)"
    let writer = try await APIConnection.open(target)
    let made = try await writer.document(
      KubeRequest(
        .post, Self.path, headers: [("Content-Type", "application/json")],
        body: APIObjects.configMap(object, value: "0").encoded()))
    guard made[path: "metadata", "resourceVersion"]?.string != nil else {
      throw BenchError("\(name): the created ConfigMap has no resourceVersion")
    }
    // What the writes cost without anybody who watches them.
    let unwatched = try await cpuOfWrites(writer, object, seconds: min(seconds, Self.unwatchedSecondsMax))
    let events = max(1, Int(seconds * eventsPerSecond))
    let begun = try await revision(writer, object)
    let (connections, watches) = try await withDeadline(Self.openTimeout, "\(name): opening the watches") {
      try await open(from: begun, events: events)
    }
    let cpu = try target.cpuMicroseconds()
    let clock = ContinuousClock()
    let begin = clock.now
    let deliveries = try await withDeadline(
      .seconds(seconds * 4) + Self.lastDeliveryTimeout, "\(name): \(events) events for each of \(watchers) watchers"
    ) {
      var sent: [Int64] = []
      for number in 1...events {
        try await Task.sleep(until: begin + .seconds(Double(number - 1) / eventsPerSecond), clock: clock)
        let request = Self.change(object, "\(number)")
        sent.append(SystemClock.bootNanoseconds)
        try await writer.send(request)
      }
      var all = Series()
      // Writes are one after another, so the number of an event is that of its write.
      for watch in watches {
        for (event, write) in zip(try await watch.times(), sent) { all.add(Double(event - write) / 1e6) }
      }
      return all
    }
    let elapsed = begin.duration(to: clock.now).inMilliseconds / 1000
    let used = try target.cpuMicroseconds() - cpu
    report.set("\(name)_p50_ms", deliveries.median)
    report.set("\(name)_p99_ms", deliveries.percentile(0.99))
    if target.processID != nil {
      report.set("\(name)_cpu_us", max(0, used / Double(events) - unwatched) / Double(watchers))
      report.set("\(name)_write_cpu_us", unwatched)
    }
    report.set("\(name)_events_per_s", Double(events) / elapsed)
    try await writer.send(KubeRequest(.delete, "\(Self.path)/\(object)"))
    for connection in connections + [writer] { connection.close() }
  }

  /// Watches that see nothing and stay as long as their connections, which are what is returned.
  func hold() async throws -> [APIConnection] {
    let connection = try await APIConnection.open(target)
    defer { connection.close() }
    let list = try await connection.document(KubeRequest(.get, Self.path, query: [("limit", "1")]))
    return try await open(from: list[path: "metadata", "resourceVersion"]?.string ?? "0", events: .max).0
  }

  private static let unwatchedSecondsMax = 3.0

  /// Microseconds of the server a write, at the pace of the events.
  private func cpuOfWrites(_ writer: APIConnection, _ object: String, seconds: Double) async throws -> Double {
    let writes = max(1, Int(seconds * eventsPerSecond))
    let cpu = try target.cpuMicroseconds()
    let begin = ContinuousClock.now
    for number in 1...writes {
      try await Task.sleep(until: begin + .seconds(Double(number - 1) / eventsPerSecond), clock: .continuous)
      try await writer.send(Self.change(object, "unwatched \(number)"))
    }
    return (try target.cpuMicroseconds() - cpu) / Double(writes)
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
  private func open(
    from revision: String, events: Int
  ) async throws -> ([APIConnection], [APIConnection.Watch]) {
    let request = KubeRequest(
      .get, Self.path, query: [("watch", "true"), ("resourceVersion", revision)], timeoutSeconds: nil)
    var connections: [APIConnection] = []
    var watches: [APIConnection.Watch] = []
    while watches.count < watchers {
      let connection = try await APIConnection.open(target)
      connections.append(connection)
      var wanted = min(Self.watchersPerConnection, watchers - watches.count)
      while wanted > 0 {
        let some = min(wanted, Self.openingMax)
        watches += try await withThrowingTaskGroup(of: APIConnection.Watch.self) { group in
          for _ in 0..<some { group.addTask { try await connection.watch(request, events: events) } }
          return try await group.reduce(into: []) { $0.append($1) }
        }
        wanted -= some
      }
    }
    return (connections, watches)
  }
}
