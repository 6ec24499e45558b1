package import KubeModel
package import Logging
internal import Kernel
internal import Synchronization

/// Writes Events about objects: what people see with `kubectl describe` and `kubectl get events`.
///
/// Recording never waits and never fails: events queue up to a bound, and `run` sends them.
package final class EventRecorder: Sendable {
  package enum Kind: String, Sendable {
    case normal = "Normal"
    case warning = "Warning"
  }

  /// Events that wait to be sent; more are dropped, and counted in the log.
  package static let queueMax = 1000

  private struct State {
    var waiting: [(event: Event, at: Duration)] = []
    var dropped = 0
  }
  private let state = Mutex(State())
  private let arrived = Signal()
  private let client: KubeClient
  private let source: EventSource
  private let logger: Logger

  /// - Parameter component: who tells: `default-scheduler`.
  package init(
    client: KubeClient, component: String, host: String? = nil, logger: Logger = Logger(label: "martlet.events")
  ) {
    self.client = client
    var source = EventSource()
    (source.component, source.host) = (component, host)
    self.source = source
    self.logger = logger
  }

  package func record(_ object: some KubeKind, _ kind: Kind, reason: String, _ message: String) {
    record(ObjectReference(to: object), kind, reason: reason, message)
  }

  package func record(_ object: ObjectReference, _ kind: Kind, reason: String, _ message: String) {
    let nanoseconds = client.clock.wallNanoseconds()
    var event = Event()
    let suffix = hexadecimal((0..<8).reversed().map { UInt8(truncatingIfNeeded: nanoseconds >> ($0 * 8)) })
    event.metadata.name = "\(object.name ?? "").\(suffix)"
    event.metadata.namespace = object.namespace.map { $0.isEmpty ? "default" : $0 } ?? "default"
    event.involvedObject = object
    event.type = kind.rawValue
    event.reason = reason
    event.message = String(message.prefix(1024))
    event.source = source
    event.reportingComponent = source.component
    event.reportingInstance = source.host
    let time = Time(secondsSinceEpoch: nanoseconds / 1_000_000_000)
    (event.firstTimestamp, event.lastTimestamp, event.count) = (time, time, 1)
    let at = client.clock.now()
    let dropped = state.withLock { state -> Int? in
      guard state.waiting.count < Self.queueMax else {
        state.dropped += 1
        return state.dropped
      }
      state.waiting.append((event, at))
      return nil
    }
    if let dropped, dropped.nonzeroBitCount == 1 {
      logger.warning("\(Self.queueMax) events wait to be sent; \(dropped) dropped so far")
    }
    arrived.raise()
  }

  /// Sends events until cancelled.
  /// - Throws: `CancellationError`, only.
  package func run() async throws {
    var correlator = EventCorrelator()
    while !Task.isCancelled {
      let batch = state.withLock { state -> [(event: Event, at: Duration)] in
        defer { state.waiting = [] }
        return state.waiting
      }
      for (event, at) in batch where !Task.isCancelled { await send(event, at, &correlator) }
      await arrived.wait()
    }
    throw CancellationError()
  }

  private func send(_ event: Event, _ at: Duration, _ correlator: inout EventCorrelator) async {
    guard let action = correlator.correlate(event, at: at) else { return }
    do throws(KubeError) {
      do throws(KubeError) {
        if case .patch(let name, let change) = action.step {
          let _: Event = try await client.patch(
            name: name, namespace: event.metadata.namespace, .strategic(change))
          return
        }
      } catch {
        // The event that was to be counted up has expired: tell it anew.
        guard error.isNotFound else { throw error }
        correlator.forget(action)
      }
      let _: Event = try await client.create(action.event)
    } catch {
      if !error.isCancelled {
        logger.warning("event \(event.reason ?? "") about \(event.involvedObject.name ?? ""): \(error)")
      }
    }
  }
}
