package import Dataplane
package import Kernel
internal import KubeClient
package import KubeModel
package import Logging

/// Keeps the kernel's Service table what Services say: those of the node's manifests, and those of an API server.
///
/// A change costs what changed. What the kernel refuses is tried again; until then it has what it had.
package actor ServiceProxy {
  package nonisolated let dataplane: Dataplane
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
  private var turns: [String: UInt64] = [:]
  private var standing: [IPAddress] = []
  private var lastUpdated: Int64 = 0
  private var failingSince: Int64?
  package nonisolated let metrics: ProxyMetrics

  /// - Parameter waitsForServer: nothing is changed in the kernel before `release`.
  package init(
    dataplane: Dataplane, ranges: [IPPrefix] = [], logger: Logger, waitsForServer: Bool = false,
    metrics: ProxyMetrics = ProxyMetrics()
  ) {
    (self.dataplane, self.ranges, self.logger, isHeld) = (dataplane, ranges, logger, waitsForServer)
    self.metrics = metrics
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
      let (step, taken, _) = ledger.put(owner, entries[owner] ?? [])
      change.set += step.set
      change.remove += step.remove
      for (key, holder) in taken {
        for index in outcomes.indices where Self.owner(outcomes[index]) == owner {
          outcomes[index].problem = "\(key.place) is taken by service \(Self.name(of: holder))"
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

  /// What became of a Service that was put.
  struct Settled: Sendable {
    /// Why the kernel does not have it; nil where it does. It is tried again with the next change.
    var failure: String?
    var troubles: [ServiceTrouble] = []
    /// Services that got what this one let go: their troubles are others now.
    var promoted: Set<String> = []
  }

  /// Puts what became of one Service of the API server into the kernel; nil removes it.
  ///
  /// - Parameter turn: grows from call to call of a key; what comes late does nothing.
  func put(_ key: String, _ service: ServedService?, turn: UInt64) async -> Settled {
    guard turn > turns[key] ?? 0 else { return Settled() }
    turns[key] = turn
    if service == nil, turns.count > Self.turnsMin, turns.count > ledger.count * 2 {
      turns = turns.filter { ledger.has(Self.server + $0.key) || $0.key == key }
    }
    // What cannot be served is known before the kernel is asked, whoever else has which address.
    let (table, problems) = ServiceTable.collecting(service?.entries ?? [])
    let owner = Self.server + key
    let (change, taken, promoted) = ledger.put(owner, Array(table.services.values))
    var settled = Settled()
    settled.troubles = problems.map { ServiceTrouble($0) }
    for (key, holder) in taken.sorted(by: { $0.key < $1.key }) {
      settled.troubles.append(
        ServiceTrouble(
          key.address.isUnspecified ? .nodePortTaken : .addressTaken,
          "\(key.place) is taken by service \(Self.name(of: holder))"))
    }
    settled.promoted = Set(promoted.compactMap { $0.hasPrefix(Self.server) ? Self.name(of: $0) : nil })
    settled.failure = await apply(change)
    return settled
  }

  private static let server = "api "
  /// Turns of Services that are gone are forgotten when there are more than this, and more than those that are there.
  private static let turnsMin = 4096

  private static func name(of owner: String) -> String {
    String(owner.split(separator: " ", maxSplits: 1).last ?? "")
  }

  /// From here on the table is made to be what the ledger says.
  func release() async {
    isHeld = false
    _ = await apply(ServiceLedger.Change())
  }

  var isReleased: Bool { !isHeld }
  var count: Int { ledger.count }

  /// The proxy is well as soon as the kernel has the first table, and until it has refused changes for a while.
  package var health: (isHealthy: Bool, lastUpdated: Int64) {
    let failing = failingSince.map { SystemClock.bootNanoseconds - $0 } ?? 0
    return (lastUpdated > 0 && !isHeld && failing < Self.failingMaxNanoseconds, lastUpdated)
  }
  private static let failingMaxNanoseconds: Int64 = 60_000_000_000

  /// Where node ports stand from now on.
  package func stand(at addresses: [IPAddress]) async {
    guard addresses != standing else { return }
    do throws(DataplaneError) {
      try await dataplane.setNodePortAddresses(addresses)
      standing = addresses
    } catch {
      logger.error("node ports: \(error)")
    }
  }

  /// Watches what others do to the table, and mends it, until cancelled.
  package func watch() async {
    var backoff = Backoff(first: Self.watchRetry, max: Self.watchRetryMax)
    while !Task.isCancelled {
      let logger = self.logger
      do throws(DataplaneError) {
        try await dataplane.watch { event in
          let what = event.verification.differences.prefix(3).joined(separator: "; ")
          let who = event.culprit.map { " by \($0)" } ?? ""
          // What was mended the dataplane has told.
          guard let failure = event.failure else { return }
          logger.error("the Service table was changed\(who): \(what); mending it failed: \(failure)")
        }
      } catch {
        logger.error("the Service table is not watched: \(error)")
      }
      try? await Task.sleep(for: backoff.next())
    }
  }

  private static let watchRetry = Duration.seconds(1)
  private static let watchRetryMax = Duration.seconds(60)

  // MARK: the kernel

  /// - Returns: why the kernel does not have it; nil where it does.
  private func apply(_ change: ServiceLedger.Change) async -> String? {
    if isHeld { return nil }
    let began = ContinuousClock.now
    let isFull = !isApplied
    do throws(DataplaneError) {
      if isApplied {
        if change.isEmpty { return nil }
        try await dataplane.change(set: change.set, remove: change.remove)
      } else {
        // Meanwhile another change may come: it finds the table in force, or makes it anew.
        isApplied = true
        try await dataplane.apply(ServiceTable.collecting(ledger.entries).table)
      }
      metrics.synced(
        seconds: (ContinuousClock.now - began) / .seconds(1), isFull: isFull,
        at: Double(SystemClock.wallNanoseconds) / 1e9)
      metrics.holds(entries: ledger.count)
      (lastUpdated, failingSince) = (SystemClock.wallNanoseconds, nil)
      return nil
    } catch {
      isApplied = false
      failingSince = failingSince ?? SystemClock.bootNanoseconds
      metrics.failed()
      logger.error("services: \(error)")
      return "\(error)"
    }
  }
}
