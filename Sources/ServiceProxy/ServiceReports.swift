package import KubeClient
package import KubeModel
package import Logging
internal import Synchronization

/// Tells the API server what of Services is not served: as a condition of the Service, and as an event about it.
package final class ServiceReports: Sendable {
  /// Of `status.conditions`: False while something of the Service is not served; taken away when all is.
  package static let condition = "martlet.dev/Served"

  private struct State {
    var wanted: [ObjectKey: [ServiceTrouble]] = [:]
    /// Whoever runs here may not write the status of Services: events have to do.
    var isForbidden = false
  }
  private let state = Mutex(State())
  private let client: KubeClient
  private let recorder: EventRecorder
  private let queue: WorkQueue<ObjectKey>
  private let logger: Logger

  package init(client: KubeClient, nodeName: String, logger: Logger) {
    self.client = client
    self.logger = logger
    recorder = EventRecorder(client: client, component: "martlet-proxy", host: nodeName, logger: logger)
    queue = WorkQueue(name: "service conditions", clock: client.clock, logger: logger)
  }

  /// - Parameter troubles: all there are; empty when there are none any more.
  package func tell(_ service: Service, _ troubles: [ServiceTrouble]) {
    for trouble in troubles { recorder.record(service, .warning, reason: trouble.reason.rawValue, trouble.message) }
    let key = ObjectKey(service)
    state.withLock { $0.wanted[key] = troubles }
    queue.add(key)
  }

  package func run() async {
    await withDiscardingTaskGroup { group in
      group.addTask { try? await self.recorder.run() }
      group.addTask { try? await self.queue.run { try await self.write($0) } }
    }
  }

  private func write(_ key: ObjectKey) async throws -> WorkOutcome {
    guard let troubles = state.withLock({ $0.isForbidden ? nil : $0.wanted[key] }) else { return .done }
    do throws(KubeError) {
      let service: Service = try await client.get(name: key.name, namespace: key.namespace)
      let now = Time(secondsSinceEpoch: client.clock.wallNanoseconds() / 1_000_000_000)
      _ = try await client.updateStatus(retrying: service) { Self.revise(&$0, troubles, now: now) }
    } catch {
      if error.isForbidden {
        state.withLock { $0.isForbidden = true }
        logger.info("this node may not write conditions of Services; events tell what is not served")
        return .done
      }
      guard error.isNotFound else { throw error }
    }
    state.withLock { state in
      if state.wanted[key] == troubles { state.wanted[key] = nil }
    }
    return .done
  }

  /// - Returns: whether anything is to be written.
  static func revise(_ service: inout Service, _ troubles: [ServiceTrouble], now: Time) -> Bool {
    let index = service.status.conditions.firstIndex { $0.type == Self.condition }
    guard let first = troubles.first else {
      guard let index else { return false }
      service.status.conditions.remove(at: index)
      return true
    }
    let before = index.map { service.status.conditions[$0] } ?? Condition()
    var condition = before
    condition.type = Self.condition
    condition.status = "False"
    condition.reason = first.reason.rawValue
    condition.message = String(troubles.map(\.message).joined(separator: "; ").prefix(messageMax))
    condition.observedGeneration = service.metadata.generation
    if before.status != condition.status { condition.lastTransitionTime = now }
    if condition == before { return false }
    if let index { service.status.conditions[index] = condition } else { service.status.conditions.append(condition) }
    return true
  }

  /// Characters of a condition's message, as the API allows.
  private static let messageMax = 32_768
}
