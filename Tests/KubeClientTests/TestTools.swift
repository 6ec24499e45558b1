import JSON
import KubeClient
import KubeModel
import Logging
import Synchronization

/// Failures are the point of many tests: nobody reads of them.
let silent = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

/// Numbers that a seed fixes.
struct Dice: RandomNumberGenerator {
  private var state: UInt64

  init(seed: Int) { state = UInt64(truncatingIfNeeded: seed) &* 0x9E37_79B9_7F4A_7C15 &+ 1 }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
  }

  mutating func chance(_ percent: Int) -> Bool { Int.random(in: 0..<100, using: &self) < percent }
}

/// A clock that stands still until a test moves it.
final class ManualClock: Sendable {
  private struct State {
    var now: Duration = .zero
    var sleepers: [Int: (deadline: Duration, continuation: CheckedContinuation<Void, any Error>)] = [:]
    var made = 0
  }
  private let state = Mutex(State())
  private let slept = Signal()

  var clock: KubeClock {
    KubeClock(
      now: { self.state.withLock { $0.now } }, sleep: { try await self.sleep(until: $0) },
      wallNanoseconds: { 1_800_000_000_000_000_000 + Int64(self.state.withLock { $0.now } / .nanoseconds(1)) })
  }

  private func sleep(until deadline: Duration) async throws {
    let id = state.withLock { state -> Int in
      state.made += 1
      return state.made
    }
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        let isOver = state.withLock { state -> Bool in
          if deadline <= state.now || Task.isCancelled { return true }
          state.sleepers[id] = (deadline, continuation)
          return false
        }
        if isOver { continuation.resume() }
      }
    } onCancel: {
      state.withLock { $0.sleepers.removeValue(forKey: id) }?.continuation.resume(throwing: CancellationError())
    }
  }

  func advance(by duration: Duration) {
    let due = state.withLock { state -> [CheckedContinuation<Void, any Error>] in
      state.now += duration
      let due = state.sleepers.filter { $0.value.deadline <= state.now }
      for id in due.keys { state.sleepers[id] = nil }
      return due.values.map(\.continuation)
    }
    for continuation in due { continuation.resume() }
  }

  /// The earliest deadline that somebody waits for.
  var nextDeadline: Duration? { state.withLock { $0.sleepers.values.map(\.deadline).min() } }
}

/// A clock that jumps over short sleeps, and remembers them; what is as long as a timeout is not reached.
final class LeapingClock: Sendable {
  private let state = Mutex((now: Duration.zero, sleeps: [Duration]()))

  var sleeps: [Duration] { state.withLock { $0.sleeps } }

  var clock: KubeClock {
    KubeClock(
      now: { self.state.withLock { $0.now } },
      sleep: { deadline in
        try Task.checkCancellation()
        let isTimeout = self.state.withLock { state -> Bool in
          guard deadline - state.now < .seconds(30) else { return true }
          state.sleeps.append(deadline - state.now)
          state.now = max(state.now, deadline)
          return false
        }
        if isTimeout { try await Task.sleep(for: .seconds(60)) }
        await Task.yield()
      }, wallNanoseconds: { 1_800_000_000_000_000_000 })
  }
}

/// A server that gives the next answer of a script, and keeps what it was asked.
final class Script: Sendable {
  typealias Step = @Sendable (KubeRequest) throws(KubeError) -> KubeResponse
  private let state: Mutex<(steps: [Step], requests: [KubeRequest])>

  init(_ steps: [Step]) { state = Mutex((steps, [])) }

  var requests: [KubeRequest] { state.withLock { $0.requests } }

  var transport: KubeTransport {
    KubeTransport { request throws(KubeError) in
      let step = self.state.withLock { state -> Step? in
        state.requests.append(request)
        return state.steps.isEmpty ? nil : state.steps.removeFirst()
      }
      guard let step else { throw KubeError(.connection(wasSent: true), message: "the script is over") }
      return try step(request)
    }
  }

  static func answer(_ status: Int, _ body: JSONValue, headers: [(String, String)] = []) -> Step {
    { _ throws(KubeError) in
      KubeResponse(status: status, headers: headers.map { ($0.0, $0.1) }, body: .bytes(body.encoded()))
    }
  }

  static func refuse(_ code: Int, _ reason: String, _ message: String = "", retryAfter: Int? = nil) -> Step {
    answer(
      code,
      [
        "apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": .string(reason),
        "message": .string(message), "code": .integer(Int64(code)),
        "details": retryAfter.map { ["retryAfterSeconds": .integer(Int64($0))] } ?? .null,
      ])
  }

  static func text(_ status: Int, _ text: String) -> Step {
    { _ throws(KubeError) in KubeResponse(status: status, body: .bytes(Array(text.utf8))) }
  }

  /// What was sent, as the answer.
  static func echo() -> Step {
    { request throws(KubeError) in KubeResponse(status: 200, body: .bytes(request.body)) }
  }

  static func fail(_ failure: KubeError.Failure) -> Step {
    { _ throws(KubeError) in throw KubeError(failure, message: "scripted") }
  }

  static func lines(_ chunks: [[UInt8]]) -> Step {
    { _ throws(KubeError) in KubeResponse(status: 200, body: .chunks(chunks)) }
  }
}

func configMap(_ name: String, namespace: String = "default", revision: Int = 1, data: [String: String] = [:])
  -> ConfigMap
{
  var map = ConfigMap()
  (map.metadata.name, map.metadata.namespace, map.metadata.uid) = (name, namespace, "uid-\(name)")
  map.metadata.resourceVersion = "\(revision)"
  map.data = data
  return map
}

/// Runs `body` beside a service, which is stopped at its end.
func with<R: Sendable>(
  _ service: @escaping @Sendable () async throws -> Void, _ body: () async throws -> R
) async throws -> R {
  let task = Task { try await service() }
  defer { task.cancel() }
  return try await body()
}
