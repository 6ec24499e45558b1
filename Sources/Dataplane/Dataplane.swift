package import Kernel
package import Logging
internal import NFT

package struct DataplaneConfiguration: Sendable {
  /// Sources in these keep their address on the way to an endpoint; others, unless they are the node itself, are masqueraded.
  package var podCIDRs: [IPPrefix]

  /// Everything that is sent to a service gets the node's address, except what `outside` or `never` names.
  package var masqueradeAll: Bool
  /// Where node ports stand until `setNodePortAddresses` says otherwise.
  package var nodePortAddresses: [IPAddress]

  package init(podCIDRs: [IPPrefix], masqueradeAll: Bool = false, nodePortAddresses: [IPAddress] = []) {
    self.podCIDRs = podCIDRs
    self.masqueradeAll = masqueradeAll
    self.nodePortAddresses = nodePortAddresses
  }
}

/// The Service load balancer: owner of nftables table `inet martlet` in the network namespace of the thread that made it.
///
/// Needs CAP_NET_ADMIN there. One netlink transaction per call: a call that throws has changed nothing in the kernel.
/// Calls block for the transaction: well under a millisecond for a few services, about 10 µs a service for all of them.
package actor Dataplane {
  /// What one call sent.
  package struct Applied: Sendable, Equatable {
    /// Netlink messages in the batch, without its begin and end; 0: nothing had changed.
    package var messages = 0
    package var addedElements = 0
    package var removedElements = 0
    /// UDP connections that led to an endpoint that is gone, forgotten.
    package var forgottenFlows = 0
    /// Services that are not in the table, or not whole, because of what they are: all of those that the call named.
    package var problems: [EntryProblem] = []

    package init(messages: Int = 0, addedElements: Int = 0, removedElements: Int = 0, forgottenFlows: Int = 0) {
      self.messages = messages
      self.addedElements = addedElements
      self.removedElements = removedElements
      self.forgottenFlows = forgottenFlows
    }
  }

  private let layout: ServiceLayout
  private let transactions: NftTransactions
  private let connections: ConntrackTable
  private let logger: Logger
  /// Nil: the kernel's table is unknown, and the next call replaces it.
  private var state: ServiceState?
  /// Flows whose deletion failed, tried again with the next call. Bounded by `staleFlowsMax`; then they time out by themselves.
  private var staleFlows: Set<TranslatedFlow> = []
  private static let staleFlowsMax = 65_536

  /// - Throws: `DataplaneError` where the netlink sockets cannot be opened.
  package init(configuration: DataplaneConfiguration, logger: Logger) throws(DataplaneError) {
    layout = ServiceLayout(podCIDRs: configuration.podCIDRs)
    self.logger = logger
    do throws(SyscallError) {
      transactions = try NftTransactions()
      connections = try ConntrackTable()
    } catch {
      throw DataplaneError(stage: "open dataplane", detail: error.description)
    }
  }

  /// Makes the kernel's table be `desired`, by sending the difference to what was applied last: linear in the size of
  /// the table, where `change` is linear in what changes.
  @discardableResult
  package func apply(_ desired: ServiceTable) throws(DataplaneError) -> Applied {
    guard let state else { return try replace(desired) }
    var changes: [ServiceEntry.Key: ServiceEntry?] = [:]
    for (key, entry) in desired.services where state.services[key] != entry { changes[key] = .some(entry) }
    for key in state.services.keys where desired.services[key] == nil { changes[key] = .some(nil) }
    return try send(changes)
  }

  /// Sets some services and removes others, and leaves the rest.
  /// - Throws: `DataplaneError`; also before the first `apply`, because what the rest is would then be unknown.
  @discardableResult
  package func change(set: [ServiceEntry], remove: [ServiceEntry.Key] = []) throws(DataplaneError) -> Applied {
    if state == nil { throw DataplaneError(stage: "change services", detail: "nothing was applied yet; apply first") }
    let (checked, problems) = ServiceTable.collecting(set)
    var changes = checked.services.mapValues { Optional($0) }
    for key in remove where changes[key] == nil { changes[key] = .some(nil) }
    var applied = try send(changes)
    applied.problems = problems
    return applied
  }

  /// Forgets what was applied last: the next `apply` replaces the whole table in one transaction, without a gap.
  package func adopt() { state = nil }

  /// Deletes the table; a missing one is fine.
  package func flush() throws(DataplaneError) {
    try run(Table.deleting(ServiceLayout.tableName), stage: "flush services")
    state = nil
  }

  private func replace(_ desired: ServiceTable) throws(DataplaneError) -> Applied {
    var fresh = ServiceState()
    let step = fresh.apply(desired.services.mapValues { Optional($0) })
    let messages = fresh.table(layout).replacing()
    try run(messages, stage: "replace services")
    state = fresh
    // What led where before is unknown: every flow to a service that does not lead to one of its endpoints is stale.
    let forgotten = forgetFlows(of: desired.services.values.filter { $0.transport == .udp })
    return Applied(messages: messages.count, addedElements: step.addedElements, forgottenFlows: forgotten)
  }

  private func send(_ changes: [ServiceEntry.Key: ServiceEntry?]) throws(DataplaneError) -> Applied {
    guard var next = state else { return Applied() }
    // While it changes, the local copy must be the only one: a second one would make it copy all services.
    state = nil
    defer { state = next }
    let undo = changes.reduce(into: [ServiceEntry.Key: ServiceEntry?]()) { undo, change in
      undo[change.key] = .some(next.services[change.key])
    }
    let step = next.apply(changes)
    let messages = step.messages
    do throws(DataplaneError) {
      if !messages.isEmpty { try runOrReplace(messages, next) }
    } catch {
      _ = next.apply(undo)
      throw error
    }
    return Applied(
      messages: messages.count, addedElements: step.addedElements, removedElements: step.removedElements,
      forgottenFlows: forget(step.staleFlows))
  }

  private func forgetFlows(of services: [ServiceEntry]) -> Int {
    let endpoints = Dictionary(services.map { ($0.key, Set($0.endpoints)) }) { $1 }
    return deleteUDP(Set(services.map(\.address.family))) { flow in
      let key = ServiceEntry.Key(address: flow.virtualAddress, transport: .udp, port: flow.virtualPort)
      guard let current = endpoints[key] else { return false }
      return !current.contains(ServiceEndpoint(address: flow.endpoint, port: flow.endpointPort))
    } ?? 0
  }

  /// After the table has changed, so that no packet in between brings a flow back.
  private func forget(_ flows: Set<TranslatedFlow>) -> Int {
    let wanted = staleFlows.union(flows)
    staleFlows = []
    if wanted.isEmpty { return 0 }
    let deleted = deleteUDP(Set(wanted.map(\.virtualAddress.family))) { wanted.contains($0) }
    if deleted == nil && wanted.count <= Self.staleFlowsMax { staleFlows = wanted }
    return deleted ?? 0
  }

  /// Nil where the kernel would not: traffic of new flows is right all the same, so that is a warning.
  private func deleteUDP(_ families: Set<IPAddress.Family>, where stale: (TranslatedFlow) -> Bool) -> Int? {
    if families.isEmpty { return 0 }
    do throws(SyscallError) {
      return try connections.deleteUDP(families: families.sorted(), where: stale)
    } catch {
      logger.warning("delete stale UDP flows: \(error); tried again with the next change of a UDP service")
      return nil
    }
  }

  private func runOrReplace(_ messages: [Message], _ next: ServiceState) throws(DataplaneError) {
    do throws(NftRefusal) {
      try transactions.run(Program.encode(messages))
    } catch {
      let detail = Self.describe(error, messages)
      if error.cause.errno != Errno.noEntry { throw DataplaneError(stage: "apply services", detail: detail) }
      // Somebody flushed the machine's rules: ours are made again.
      logger.warning("\(detail): table inet \(ServiceLayout.tableName) was changed by somebody else; it is made again")
      try run(next.table(layout).replacing(), stage: "replace services")
    }
  }

  private func run(_ messages: [Message], stage: String) throws(DataplaneError) {
    do throws(NftRefusal) {
      try transactions.run(Program.encode(messages))
    } catch {
      throw DataplaneError(stage: stage, detail: Self.describe(error, messages))
    }
  }

  /// "add element inet martlet services4 { 10.96.0.1 . tcp . 80 : 1:3 }: ENOENT (2)"
  private static func describe(_ refusal: NftRefusal, _ messages: [Message]) -> String {
    guard let index = refusal.message, messages.indices.contains(index) else { return refusal.cause.description }
    let what = messages[index].description(element: refusal.element)
    let sentence = refusal.sentence.map { ": \($0)" } ?? ""
    return "\(what): \(SyscallError.name(of: refusal.cause.errno)) (\(refusal.cause.errno))\(sentence)"
  }
}

package struct DataplaneError: Error, Sendable, CustomStringConvertible {
  /// "apply services", "flush services".
  package var stage: String
  /// "add element inet martlet services4 { 10.96.0.1 . tcp . 80 : … }: ENOENT (2)".
  package var detail: String

  package var description: String { "\(stage): \(detail)" }
}
