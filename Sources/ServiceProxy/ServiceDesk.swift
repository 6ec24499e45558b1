package import KubeClient
package import KubeModel
package import Logging
internal import Kernel

/// Tells people and load balancers what became of Services, and settles them with the kernel. Both sources of Services,
/// an API server and a file, work through one.
package actor ServiceDesk {
  private let proxy: ServiceProxy
  private let health: HealthPorts
  private let reports: ServiceReports?
  private let logger: Logger
  let metrics: ProxyMetrics
  private var told: [ObjectKey: [ServiceTrouble]] = [:]
  private var turn: UInt64 = 0

  /// - Parameter reports: where there is an API server to tell.
  package init(proxy: ServiceProxy, reports: ServiceReports? = nil, logger: Logger) {
    (self.proxy, self.reports, self.logger) = (proxy, reports, logger)
    health = HealthPorts(logger: logger)
    metrics = proxy.metrics
  }

  /// A number that grows: what is computed later has the larger one.
  package func nextTurn() -> UInt64 {
    turn += 1
    return turn
  }

  /// What is not served, for people.
  package var troubles: [ObjectKey: [ServiceTrouble]] { told }

  /// Brings one Service into the kernel, or out of it where `served` is nil.
  ///
  /// - Returns: whether the kernel has it, and the Services that must be looked at again because of it.
  package func settle(
    _ key: ObjectKey, _ served: ServedService?, of service: Service?, turn: UInt64
  ) async -> (isDone: Bool, again: Set<String>) {
    let settled = await proxy.put("\(key)", served, turn: turn)
    var troubles = (served?.problems ?? []) + settled.troubles
    if let failure = settled.failure { troubles.append(ServiceTrouble(.refused, failure)) }
    if let problem = await health.set(key, served?.health) { troubles.append(problem) }
    if told[key] ?? [] != troubles {
      told[key] = troubles.isEmpty ? nil : troubles
      for trouble in troubles { logger.warning("service \(key): \(trouble)") }
      if let service { reports?.tell(service, troubles) }
    }
    return (settled.failure == nil, settled.promoted)
  }

  /// Serves the ports on which load balancers ask, and sends reports, until cancelled.
  package func run() async {
    await withDiscardingTaskGroup { group in
      group.addTask { await self.health.run() }
      if let reports { group.addTask { await reports.run() } }
    }
  }

  /// What load balancers hear besides the number of endpoints.
  package func setProxyHealthy(_ isHealthy: @escaping @Sendable () async -> Bool) async {
    await health.setProxyHealthy(isHealthy)
  }
}
