internal import Kernel
internal import Logging
internal import NIOCore
internal import NIOPosix
internal import Synchronization

/// What all connections of one server share.
final class ServerCore: Sendable {
  let limits: HTTPServerLimits
  let logger: Logger
  let handler: HTTPServer.Handler
  private let executors: [ObjectIdentifier: LoopExecutor]
  private let table: Mutex<Table>
  private let date = Mutex<(second: Int64, text: String)>((0, ""))

  private struct Table {
    var isStopping = false
    var connections = 0
    /// Connections, and streams of HTTP/2, that are told when the server stops.
    var channels: [ObjectIdentifier: any Channel] = [:]
    var tasks = 0
    var whenEmpty: CheckedContinuation<Void, Never>?
    var lastComplaint: Int64 = 0

    var isEmpty: Bool { channels.isEmpty && tasks == 0 }
  }

  init(limits: HTTPServerLimits, logger: Logger, handler: @escaping HTTPServer.Handler) {
    self.limits = limits
    self.logger = logger
    self.handler = handler
    table = Mutex(Table())
    var executors: [ObjectIdentifier: LoopExecutor] = [:]
    for loop in Self.group.makeIterator() { executors[ObjectIdentifier(loop)] = LoopExecutor(loop) }
    self.executors = executors
  }

  static var group: MultiThreadedEventLoopGroup { .singletonMultiThreadedEventLoopGroup }

  func executor(of loop: any EventLoop) -> LoopExecutor {
    executors[ObjectIdentifier(loop)] ?? LoopExecutor(loop)
  }

  // MARK: bookkeeping

  /// - Returns: false where the connection is one too many, or the server stops: close it.
  func connectionOpened(_ channel: any Channel) -> Bool {
    let now = SystemClock.bootNanoseconds
    let (isWelcome, complains) = table.withLock { table -> (Bool, Bool) in
      if !table.isStopping && table.connections < limits.connectionsMax {
        table.connections += 1
        table.channels[ObjectIdentifier(channel)] = channel
        return (true, false)
      }
      let complains = !table.isStopping && now - table.lastComplaint > Self.complaintIntervalNanoseconds
      if complains { table.lastComplaint = now }
      return (false, complains)
    }
    if complains {
      logger.warning("http: \(limits.connectionsMax) connections are open, more are refused; who holds them all?")
    }
    return isWelcome
  }

  /// Between two complaints about too many connections.
  private static let complaintIntervalNanoseconds: Int64 = 10_000_000_000

  func connectionClosed(_ channel: any Channel) {
    leave { table in
      table.connections -= 1
      table.channels[ObjectIdentifier(channel)] = nil
    }
  }
  func taskStarted() { table.withLock { $0.tasks += 1 } }
  func taskEnded() { leave { $0.tasks -= 1 } }

  /// - Returns: false where the server stops already.
  func add(_ channel: any Channel) -> Bool {
    table.withLock { table in
      table.channels[ObjectIdentifier(channel)] = channel
      return !table.isStopping
    }
  }

  func remove(_ channel: any Channel) { leave { $0.channels[ObjectIdentifier(channel)] = nil } }

  private func leave(_ change: (inout Table) -> Void) {
    let waiter = table.withLock { table -> CheckedContinuation<Void, Never>? in
      change(&table)
      return table.isEmpty ? table.whenEmpty.take() : nil
    }
    waiter?.resume()
  }

  // MARK: the end

  /// Tells every connection to end, waits, and breaks what is left after the grace.
  func drain() async {
    let channels = table.withLock { table in
      table.isStopping = true
      return Array(table.channels.values)
    }
    for channel in channels {
      // Not to be awaited: a pipeline that is gone has nobody to tell.
      channel.pipeline.fireUserInboundEventTriggered(ServerStops())
    }
    let grace = Self.group.next().scheduleTask(in: .seconds(Int64(limits.shutdownGraceSeconds))) { self.breakAll() }
    await withCheckedContinuation { continuation in
      let isEmpty = table.withLock { table in
        if !table.isEmpty { table.whenEmpty = continuation }
        return table.isEmpty
      }
      if isEmpty { continuation.resume() }
    }
    grace.cancel()
  }

  private func breakAll() {
    let (channels, tasks) = table.withLock { (Array($0.channels.values), $0.tasks) }
    if tasks > 0 {
      logger.warning("http: \(tasks) answers were not ready after \(limits.shutdownGraceSeconds) s and are given up")
    }
    for channel in channels { channel.close(promise: nil) }
  }

  // MARK: the date

  /// For the field `Date`, made once a second.
  func dateField() -> String {
    let second = SystemClock.wallNanoseconds / 1_000_000_000
    return date.withLock { cached in
      if cached.second != second { cached = (second, HTTPDate.text(second)) }
      return cached.text
    }
  }
}

/// Fired down every pipeline when the server stops.
struct ServerStops: Sendable {}

/// Dates as HTTP writes them: `Sun, 06 Nov 1994 08:49:37 GMT`.
package enum HTTPDate {
  private static let days = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"]
  private static let months = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
  ]

  package static func text(_ seconds: Int64) -> String {
    let day = seconds / 86400
    let rest = seconds % 86400
    // Days to a civil date, counting years from March so that the leap day comes last.
    let shifted = day + 719468
    let era = shifted / 146097
    let ofEra = shifted - era * 146097
    let yearOfEra = (ofEra - ofEra / 1460 + ofEra / 36524 - ofEra / 146096) / 365
    let ofYear = ofEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let marchMonth = (5 * ofYear + 2) / 153
    let dayOfMonth = ofYear - (153 * marchMonth + 2) / 5 + 1
    let month = marchMonth < 10 ? marchMonth + 3 : marchMonth - 9
    let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
    func two(_ value: Int64) -> String { value < 10 ? "0\(value)" : "\(value)" }
    let time = "\(two(rest / 3600)):\(two(rest / 60 % 60)):\(two(rest % 60))"
    return "\(days[Int(day % 7)]), \(two(dayOfMonth)) \(months[Int(month) - 1]) \(year) \(time) GMT"
  }
}
