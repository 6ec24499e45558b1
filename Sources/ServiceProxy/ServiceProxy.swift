package import Dataplane
package import Kernel
package import KubeModel
package import Logging

/// Keeps the kernel's Service table what Services say: those of the node's manifests, and those of an API server.
///
/// A change costs what changed. What the kernel refuses is tried again; until then it has what it had.
package actor ServiceProxy {
  private let dataplane: Dataplane
  private let ranges: [IPPrefix]
  let logger: Logger
  private var ledger = ServiceLedger()
  /// What the kernel has of the manifests' Services, by their key.
  private var local: Set<String> = []
  /// False: the kernel's table is unknown, or is not what the ledger says.
  private var isApplied = false
  /// The API's Services are not known yet: the table that an earlier proxy left stays until they are.
  private var isHeld: Bool
  private var problems: Set<String> = []

  /// - Parameter waitsForServer: nothing is changed in the kernel before `release`.
  package init(dataplane: Dataplane, ranges: [IPPrefix], logger: Logger, waitsForServer: Bool = false) {
    (self.dataplane, self.ranges, self.logger, isHeld) = (dataplane, ranges, logger, waitsForServer)
  }

  // MARK: manifests

  /// Returns when the kernel sends no new connection to a target that is not among `targets` any more.
  ///
  /// A failure of the kernel is every Service's problem, and is tried again at the next call.
  package func sync(services: [Service], targets: [ServiceTarget]) async -> [ServicePlan.Outcome] {
    let plan = ServicePlan(services: services, targets: targets, ranges: ranges)
    var outcomes = plan.outcomes
    var entries: [String: [ServiceEntry]] = [:]
    for entry in plan.table.services.values { entries[Self.owner(entry), default: []].append(entry) }
    var change = ServiceLedger.Change()
    for owner in local.union(entries.keys).sorted() {
      let (step, taken) = ledger.put(owner, entries[owner] ?? [])
      change.set += step.set
      change.remove += step.remove
      for (key, holder) in taken {
        for index in outcomes.indices where Self.owner(outcomes[index]) == owner {
          outcomes[index].problem = "\(key.address) port \(key.port) is taken by service \(holder)"
        }
      }
    }
    local = Set(entries.keys)
    report(outcomes)
    guard let failure = await apply(change) else { return outcomes }
    return outcomes.map { outcome in
      var failed = outcome
      if failed.problem.isEmpty { failed.problem = failure }
      return failed
    }
  }

  private static func owner(_ entry: ServiceEntry) -> String {
    "manifest " + (entry.id.split(separator: ":").first.map(String.init) ?? entry.id)
  }
  private static func owner(_ outcome: ServicePlan.Outcome) -> String {
    "manifest \(outcome.namespace)/\(outcome.name)"
  }

  private func report(_ outcomes: [ServicePlan.Outcome]) {
    let now = Set(
      outcomes.filter { !$0.problem.isEmpty }.map { "service \($0.namespace)/\($0.name): \($0.problem)" })
    for text in now.subtracting(problems).sorted() { logger.error("\(text)") }
    problems = now
  }

  // MARK: an API server

  /// Puts what became of one Service of the API server into the kernel; nil removes it.
  ///
  /// - Returns: why the kernel does not have it; nil where it does.
  func put(_ key: String, _ service: ServedService?) async -> String? {
    let (change, taken) = ledger.put("api \(key)", service?.entries ?? [])
    for (taken, holder) in taken {
      logger.error("service \(key): \(taken.address) port \(taken.port) is taken by service \(holder)")
    }
    return await apply(change)
  }

  /// From here on the table is made to be what the ledger says.
  func release() async {
    isHeld = false
    _ = await apply(ServiceLedger.Change())
  }

  var isReleased: Bool { !isHeld }
  var count: Int { ledger.count }

  /// Makes the kernel's table anew from what is wanted, in one transaction, whatever somebody else did to it.
  func renew() async {
    guard isApplied else { return }
    isApplied = false
    await dataplane.adopt()
    _ = await apply(ServiceLedger.Change())
  }

  // MARK: the kernel

  /// - Returns: why the kernel does not have it; nil where it does.
  private func apply(_ change: ServiceLedger.Change) async -> String? {
    if isHeld { return "the API server has not told of its Services yet" }
    do throws(DataplaneError) {
      if isApplied {
        if change.isEmpty { return nil }
        try await dataplane.change(set: change.set, remove: change.remove)
      } else {
        try await dataplane.apply(table())
        isApplied = true
      }
      return nil
    } catch {
      isApplied = false
      logger.error("services: \(error)")
      return "\(error)"
    }
  }

  private func table() -> ServiceTable {
    var table = ServiceTable()
    for entry in ledger.entries {
      do throws(ServiceTableError) {
        try table.set(entry)
      } catch {
        logger.error("services: \(error)")
      }
    }
    return table
  }
}
