import JSON
import KubeClient
import Kernel
import Synchronization

/// A connection of its own to the API, with nothing between the request and its bytes.
struct APIConnection: Sendable {
  private let transport: KubeTransport

  static let answerBytesMax = 64 << 20
  static let timeoutSeconds = 30

  init(kubeconfig: String) throws {
    transport = try KubeTransport.kubeconfig(path: kubeconfig)
  }

  /// The answer of 2xx, once its head is there.
  func begin(_ request: KubeRequest) async throws -> KubeResponse {
    let response = try await transport.send(request)
    guard (200...299).contains(response.status) else {
      let text = try await response.body.collect(bytesMax: Self.answerBytesMax, call: request.call)
      throw BenchError("\(request.call): \(response.status) \(String(decoding: text.prefix(300), as: UTF8.self))")
    }
    return response
  }

  /// Reads the answer to its end without keeping it.
  /// - Returns: its bytes and its type.
  @discardableResult
  func send(_ request: KubeRequest) async throws -> (bytes: Int, type: String) {
    let response = try await begin(request)
    var bytes = 0
    for try await chunk in response.body { bytes += chunk.count }
    return (bytes, response.header("content-type") ?? "")
  }

  func document(_ request: KubeRequest) async throws -> JSONValue {
    let body = try await begin(request).body
    return try JSONValue.parse(try await body.collect(bytesMax: Self.answerBytesMax, call: request.call))
  }
}

/// Requests of one kind, over all rounds.
struct RequestSeries: Sendable {
  private(set) var latencies = Series()
  private(set) var seconds = 0.0
  private(set) var serverMicroseconds = 0.0
  private(set) var clientMicroseconds = 0.0

  var perSecond: Double { Double(latencies.milliseconds.count) / seconds }
  var cpuMicroseconds: Double { serverMicroseconds / Double(latencies.milliseconds.count) }
  var clientCPUMicroseconds: Double { clientMicroseconds / Double(latencies.milliseconds.count) }

  enum Extent {
    case until(Duration)
    case times(Int)
  }

  /// Does `once` again and again, `width` at a time.
  /// - Parameter once: gets a number from 1.
  mutating func add(
    width: Int, _ extent: Extent, server: Int32, _ once: @escaping @Sendable (Int) async throws -> Void
  ) async throws {
    let clock = ContinuousClock()
    let (serverBefore, clientBefore) = try (
      ProcessUse.cpuMicroseconds(server), ProcessUse.cpuMicroseconds(CurrentProcess.id)
    )
    let begin = clock.now
    let (last, end) =
      switch extent {
      case .until(let time): (Int.max, begin + time)
      // Each of them has a timeout of its own.
      case .times(let count): (count, begin + .seconds(count * APIConnection.timeoutSeconds))
      }
    let numbers = Serial()
    try await withThrowingTaskGroup(of: [Double].self) { group in
      for _ in 0..<width {
        group.addTask {
          var times: [Double] = []
          while clock.now < end {
            let number = numbers.next()
            if number > last { break }
            let sent = clock.now
            try await once(number)
            times.append(sent.duration(to: clock.now).inMilliseconds)
          }
          return times
        }
      }
      for try await times in group { for time in times { latencies.add(time) } }
    }
    seconds += begin.duration(to: clock.now).inMilliseconds / 1000
    serverMicroseconds += try ProcessUse.cpuMicroseconds(server) - serverBefore
    clientMicroseconds += try ProcessUse.cpuMicroseconds(CurrentProcess.id) - clientBefore
  }
}
