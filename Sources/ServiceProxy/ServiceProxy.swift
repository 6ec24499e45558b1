package import Dataplane
package import Kernel
package import KubeModel
package import Logging

/// Keeps the kernel's Service table what the Services and ready pods of the node say.
package actor ServiceProxy {
  private let dataplane: Dataplane
  private let ranges: [IPPrefix]
  private let logger: Logger
  /// What the kernel has; nil: unknown, or the last change failed.
  private var applied: ServiceTable?
  private var problems: Set<String> = []

  package init(dataplane: Dataplane, ranges: [IPPrefix], logger: Logger) {
    (self.dataplane, self.ranges, self.logger) = (dataplane, ranges, logger)
  }

  /// Returns when the kernel sends no new connection to a target that is not among `targets` any more.
  ///
  /// A failure of the kernel is every Service's problem, and is tried again at the next call.
  package func sync(services: [Service], targets: [ServiceTarget]) async -> [ServicePlan.Outcome] {
    let plan = ServicePlan(services: services, targets: targets, ranges: ranges)
    for outcome in plan.outcomes where !outcome.problem.isEmpty {
      let text = "service \(outcome.namespace)/\(outcome.name): \(outcome.problem)"
      if problems.insert(text).inserted { logger.error("\(text)") }
    }
    problems = problems.filter { text in
      plan.outcomes.contains { text == "service \($0.namespace)/\($0.name): \($0.problem)" }
    }
    if plan.table == applied { return plan.outcomes }
    do throws(DataplaneError) {
      try await dataplane.apply(plan.table)
      applied = plan.table
      return plan.outcomes
    } catch {
      applied = nil
      logger.error("services: \(error)")
      return plan.outcomes.map { outcome in
        var failed = outcome
        if failed.problem.isEmpty { failed.problem = "\(error)" }
        return failed
      }
    }
  }
}
