package import Kernel
package import Logging
internal import NFT

package struct DataplaneConfiguration: Sendable {
  /// Sources in these are pods: they keep their address on the way to a cluster address, and the traffic policy Local is
  /// not for them. Others, unless they are the node itself, are masqueraded.
  package var podCIDRs: [IPPrefix]
  /// Everything that is sent to a cluster address gets the node's address, except what a service's `masquerade` says.
  package var masqueradeAll: Bool
  /// Where node ports stand until `setNodePortAddresses` says otherwise.
  package var nodePortAddresses: [IPAddress]

  package init(podCIDRs: [IPPrefix], masqueradeAll: Bool = false, nodePortAddresses: [IPAddress] = []) {
    self.podCIDRs = podCIDRs
    self.masqueradeAll = masqueradeAll
    self.nodePortAddresses = nodePortAddresses
  }
}

/// The Service load balancer and the enforcer of policies: owner of nftables table `inet martlet` in the network namespace
/// of the thread that made it.
///
/// Needs CAP_NET_ADMIN there. One netlink transaction per call: a call that throws has changed nothing in the kernel.
/// Calls block for the transaction: well under a millisecond for a few services, about 10 µs a service for all of them.
package actor Dataplane {
  /// What one call sent.
  package struct Applied: Sendable, Equatable {
    /// Netlink messages in the batch, without its begin and end; 0: nothing had changed.
    package var messages = 0
    /// Of the whole batch.
    package var bytes = 0
    /// In the kernel.
    package var nanoseconds: Int64 = 0
    package var addedElements = 0
    package var removedElements = 0
    /// UDP connections that led to an endpoint that is gone, forgotten.
    package var forgottenFlows = 0
    /// UDP connections that were looked at for that.
    package var listedFlows = 0
    /// Services that are not in the table, or not whole, because of what they are: all of those that the call named.
    package var problems: [EntryProblem] = []

    package init() {}

    fileprivate mutating func note(_ sent: NftSent) { (bytes, nanoseconds) = (sent.bytes, sent.nanoseconds) }

    fileprivate mutating func note(_ flows: ConntrackTable.Deletion) {
      (forgottenFlows, listedFlows) = (flows.deleted, flows.listed)
    }
  }

  let transactions: NftTransactions
  let events: NftEvents
  let logger: Logger
  private let carrier: any MessageCarrier
  let connections: ConntrackTable
  /// What the kernel has; nil: its table is unknown, and the next call compares or replaces it.
  private var state: ServiceState?
  /// Nil: nobody has said yet; what is in the kernel stays.
  private var policies: PolicyTable?
  private let empty: ServiceState
  /// Node ports stand here, also before the first `apply`.
  private var nodePortAddresses: Set<IPAddress>
  /// Flows whose deletion failed, tried again with the next call. Bounded by `staleFlowsMax`; then they time out by themselves.
  var staleFlows: Set<TranslatedFlow> = []
  static let staleFlowsMax = 65_536
  /// Somebody watches: past so many elements in one transaction the kernel shall not write a notice for each.
  var isWatched = false
  private static let noticesMax = 1000
  /// A transaction of somebody else may have gone unnoticed.
  var mayHaveMissed = false

  /// - Throws: `DataplaneError` where the netlink sockets cannot be opened.
  package init(configuration: DataplaneConfiguration, logger: Logger) throws(DataplaneError) {
    try self.init(configuration: configuration, logger: logger, carrier: nil)
  }

  /// - Parameter carrier: takes the messages to the kernel in place of our own, for tests that let it fail.
  init(
    configuration: DataplaneConfiguration, logger: Logger, carrier: (any MessageCarrier)?
  ) throws(DataplaneError) {
    empty = ServiceState(
      layout: ServiceLayout(podCIDRs: configuration.podCIDRs, masqueradeAll: configuration.masqueradeAll))
    nodePortAddresses = Set(configuration.nodePortAddresses)
    self.logger = logger
    do throws(SyscallError) {
      transactions = try NftTransactions()
      connections = try ConntrackTable()
      events = try NftEvents(table: ServiceLayout.tableName)
    } catch {
      throw DataplaneError(stage: "open dataplane", detail: error.description)
    }
    self.carrier = carrier ?? KernelCarrier(transactions: transactions)
  }

  // MARK: services

  /// Makes the kernel's services be `desired`, by sending the difference to what was applied last: linear in the size of
  /// the table, where `change` is linear in what changes. The first call keeps of the kernel's table what is as it
  /// should be, and changes the rest in one transaction.
  @discardableResult
  package func apply(_ desired: ServiceTable) throws(DataplaneError) -> Applied {
    guard let state else { return try begin(desired) }
    var changes: [ServiceEntry.Key: ServiceEntry?] = [:]
    for (key, entry) in desired.services where state.services[key] != entry { changes[key] = .some(entry) }
    for key in state.services.keys where desired.services[key] == nil { changes[key] = .some(nil) }
    return try send(changes)
  }

  /// Sets some services and removes others, and leaves the rest. A service that cannot be is told in `problems`; what
  /// has its address, protocol and port stays as it is.
  /// - Throws: `DataplaneError`; also before the first `apply`, because what the rest is would then be unknown.
  @discardableResult
  package func change(set: [ServiceEntry], remove: [ServiceEntry.Key] = []) throws(DataplaneError) -> Applied {
    if state == nil { throw DataplaneError(stage: "change services", detail: "nothing was applied yet; apply first") }
    let (checked, problems) = ServiceTable.collecting(set)
    var changes = checked.services.mapValues { Optional($0) }
    for key in remove where changes[key] == nil { changes[key] = .some(nil) }
    var applied = try send(changes)
    applied.problems = problems + applied.problems
    return applied
  }

  /// The node's addresses at which node ports stand, both families.
  @discardableResult
  package func setNodePortAddresses(_ addresses: [IPAddress]) throws(DataplaneError) -> Applied {
    let wanted = Set(addresses)
    guard let state else {
      nodePortAddresses = wanted
      return Applied()
    }
    if state.nodePortAddresses == wanted { return Applied() }
    let applied = try send([:], nodePortAddresses: wanted)
    nodePortAddresses = wanted
    return applied
  }

  /// Forgets what was applied last: the next `apply` compares with the kernel's table, and mends it without a gap.
  package func adopt() {
    state = nil
    policies = nil
  }

  /// Deletes the table, policies with it; a missing one is fine.
  package func flush() throws(DataplaneError) {
    _ = try run(Table.deleting(ServiceLayout.tableName), stage: "flush services")
    state = nil
    policies = nil
  }

  // MARK: policies

  /// Makes the policies in force be `desired`, in one transaction; the difference to what was applied last is sent.
  /// When this returns they are in force, also for connections that are made at once.
  ///
  /// May come before the first `apply` of services: those in the kernel then stay as they are.
  @discardableResult
  package func apply(_ desired: PolicyTable) throws(DataplaneError) -> Applied {
    if policies == desired { return Applied() }
    var applied = Applied()
    let wanted = desired.table()
    guard let state, let policies else {
      applied = try adoptPolicies(wanted)
      policies = desired
      return applied
    }
    let messages = Table.difference(from: policies.table(), to: wanted)
    applied.messages = messages.count
    if !messages.isEmpty {
      let sent = try runOrReplace(messages, stage: "apply policies") {
        Self.replacement(state.whole(), state.layout, wanted)
      }
      applied.note(sent)
    }
    self.policies = desired
    return applied
  }

  /// Compares only what belongs to policies: what is there of services is left alone.
  private func adoptPolicies(_ wanted: Table) throws(DataplaneError) -> Applied {
    var messages = Self.replacement(state?.whole() ?? ServiceState.Step(), empty.layout, wanted)
    if let found = try read(), !found.chains.isEmpty {
      let comparison = try TableComparison(wanted, found, strangers: PolicyTable.owns)
      if !comparison.mustReplace { messages = comparison.messages }
    }
    var applied = Applied()
    applied.messages = messages.count
    if !messages.isEmpty { applied.note(try run(messages, stage: "apply policies")) }
    return applied
  }

  // MARK: the kernel

  /// The first call: what is there already and as it should be stays, so that nothing that is under way is disturbed.
  private func begin(_ desired: ServiceTable) throws(DataplaneError) -> Applied {
    var fresh = empty
    let found = try read()
    let wanted =
      found.map { ListedSlots($0).ordering(desired.services, nodePortAddresses: nodePortAddresses) } ?? desired.services
    let step = fresh.apply(wanted.mapValues { Optional($0) }, nodePortAddresses: nodePortAddresses)
    var applied = Applied()
    applied.problems = step.problems
    var messages: [Message]?
    if let found {
      let known = policies != nil
      let comparison = try TableComparison(table(fresh, policies), found) { known || !PolicyTable.owns($0) }
      if comparison.mustReplace {
        logger.warning(
          "table inet \(ServiceLayout.tableName) was made by another version, or by somebody else; it is made anew")
      } else if !known || comparison.addedElements <= Self.noticesMax || found.hasServices {
        // Else it waited for its services with no room for them: to make it again is cheaper.
        messages = comparison.messages
        (applied.addedElements, applied.removedElements) = (comparison.addedElements, comparison.removedElements)
      }
    }
    if messages == nil { applied.addedElements = step.addedElements }
    let toSend = messages ?? Self.replacement(step, fresh.layout, policies?.table())
    applied.messages = toSend.count
    do throws(NftRefusal) {
      if !toSend.isEmpty { applied.note(try carry(toSend)) }
    } catch {
      let detail = Self.describe(error, toSend)
      guard error.isOutOfRoom, messages != nil else { throw DataplaneError(stage: "apply services", detail: detail) }
      // A kernel whose sets get no more room than they were made with.
      logger.info("\(detail): table inet \(ServiceLayout.tableName) is made again with more room")
      applied.note(try run(Self.replacement(step, fresh.layout, policies?.table()), stage: "apply services"))
    }
    state = fresh
    // What led where before is unknown: every flow to a service that does not lead to one of its endpoints is stale.
    applied.note(forgetFlows(of: fresh))
    return applied
  }

  /// The whole table in one transaction, whatever is there.
  private static func replacement(
    _ step: ServiceState.Step, _ layout: ServiceLayout, _ policies: Table?
  ) -> [Message] {
    let expecting = Dictionary(step.elements.map { ($0.key.name, $0.value.added.count) }) { $1 }
    return layout.emptyTable().replacing(expecting: expecting) + step.messages
      + (policies.map { Table.difference(from: Table(name: $0.name, sets: [], chains: []), to: $0) } ?? [])
  }

  private func table(_ state: ServiceState, _ policies: PolicyTable?) -> Table {
    var table = state.table()
    if let more = policies?.table() {
      table.sets += more.sets
      table.chains += more.chains
    }
    return table
  }

  /// What the kernel has, or nil, also where it cannot be read: it is then replaced.
  private func read() throws(DataplaneError) -> NftTable? {
    do throws(SyscallError) {
      return try transactions.read(table: ServiceLayout.tableName) { !$0.hasPrefix("sticky") }
    } catch {
      throw DataplaneError(stage: "read table inet \(ServiceLayout.tableName)", detail: error.description)
    }
  }

  private func send(
    _ changes: [ServiceEntry.Key: ServiceEntry?], nodePortAddresses addresses: Set<IPAddress>? = nil
  ) throws(DataplaneError) -> Applied {
    guard var next = state else { return Applied() }
    // While it changes, the local copy must be the only one: a second one would make it copy all services.
    state = nil
    defer { state = next }
    let undo = changes.reduce(into: [ServiceEntry.Key: ServiceEntry?]()) { undo, change in
      undo[change.key] = .some(next.services[change.key])
    }
    let before = next.nodePortAddresses
    let step = next.apply(changes, nodePortAddresses: addresses)
    let messages = step.messages
    var applied = Applied()
    (applied.messages, applied.problems) = (messages.count, step.problems)
    (applied.addedElements, applied.removedElements) = (step.addedElements, step.removedElements)
    do throws(DataplaneError) {
      if !messages.isEmpty {
        let (now, policies) = (next, policies)
        let sent = try runOrReplace(messages, stage: "apply services") {
          Self.replacement(now.whole(), now.layout, policies?.table())
        }
        applied.note(sent)
      }
    } catch {
      _ = next.apply(undo, nodePortAddresses: addresses == nil ? nil : before, exactly: true)
      throw error
    }
    forgetClients(step.lostTags)
    applied.note(forget(step.staleFlows))
    return applied
  }

  private func runOrReplace(
    _ messages: [Message], stage: String, _ whole: () -> [Message]
  ) throws(DataplaneError) -> NftSent {
    do throws(NftRefusal) {
      return try carry(messages)
    } catch {
      let detail = Self.describe(error, messages)
      if error.isOutOfRoom {
        logger.info("\(detail): table inet \(ServiceLayout.tableName) is made again with more room")
      } else if error.cause.errno == Errno.noEntry || error.cause.errno == Errno.exists {
        // Something is there that should not be, or not there that should.
        logger.warning(
          "\(detail): table inet \(ServiceLayout.tableName) was changed by somebody else; it is made again")
      } else {
        throw DataplaneError(stage: stage, detail: detail)
      }
      return try run(whole(), stage: stage)
    }
  }

  private func run(_ messages: [Message], stage: String) throws(DataplaneError) -> NftSent {
    do throws(NftRefusal) {
      return try carry(messages)
    } catch {
      throw DataplaneError(stage: stage, detail: Self.describe(error, messages))
    }
  }

  /// Where a set has no more room it gets more, once: a kernel that does not know how refuses again.
  private func carry(_ messages: [Message]) throws(NftRefusal) -> NftSent {
    do throws(NftRefusal) {
      return try carryOnce(messages)
    } catch {
      guard error.isOutOfRoom, let more = roomier(for: messages) else { throw error }
      _ = try carryOnce(more)
      return try carryOnce(messages)
    }
  }

  /// What moves the bounds of all sets of `messages` that have one; nil where none has, or that cannot be known.
  private func roomier(for messages: [Message]) -> [Message]? {
    guard let found = try? transactions.read(table: ServiceLayout.tableName, elementsOf: { _ in false }) else {
      return nil
    }
    var coming: [SetDeclaration: Int] = [:]
    for case .addElements(_, let set, let elements) in messages { coming[set, default: 0] += elements.count }
    let more = coming.compactMap { set, count -> Message? in
      guard set.behaviour == .large, let bound = found.sets.first(where: { $0.name == set.name })?.size, bound > 0
      else { return nil }
      let room = UInt32(clamping: 2 * Int(bound) + count)
      return .boundSet(table: ServiceLayout.tableName, set, room: room)
    }
    return more.isEmpty ? nil : more
  }

  /// While somebody listens the kernel writes a notice for each element; a large transaction goes without, and whether
  /// another came between is told by the number of transactions.
  private func carryOnce(_ messages: [Message]) throws(NftRefusal) -> NftSent {
    let elements = messages.reduce(0) { $0 + $1.elementCount }
    guard isWatched, elements > Self.noticesMax else { return try carrier.run(messages) }
    let before = try? transactions.generation()
    try? events.listen(false)
    defer {
      do throws(SyscallError) {
        try events.listen(true)
      } catch {
        logger.error("listen to changes of nf_tables: \(error)")
        mayHaveMissed = true
      }
    }
    let sent = try carrier.run(messages)
    if let before, let after = try? transactions.generation(), after == before &+ 1 { return sent }
    mayHaveMissed = true
    events.interrupt()
    return sent
  }

  /// "add element inet martlet services4 { 10.96.0.1 . tcp . 80 : 1:3 }: ENOENT (2)"
  private static func describe(_ refusal: NftRefusal, _ messages: [Message]) -> String {
    guard let index = refusal.message, messages.indices.contains(index) else { return refusal.cause.description }
    let what = messages[index].description(element: refusal.element)
    let sentence = refusal.sentence.map { ": \($0)" } ?? ""
    return "\(what): \(SyscallError.name(of: refusal.cause.errno)) (\(refusal.cause.errno))\(sentence)"
  }
}

// MARK: ownership

extension Dataplane {
  /// Reads the kernel's table and compares it with what was applied. Linear in the table. Changes nothing.
  /// - Throws: `DataplaneError`; also before the first `apply`.
  package func verify() throws(DataplaneError) -> Verification { try compare().verification }

  private func compare() throws(DataplaneError) -> TableComparison {
    guard let state else { throw DataplaneError(stage: "verify", detail: "nothing was applied yet; apply first") }
    let known = policies != nil
    return try TableComparison(table(state, policies), try read()) { known || !PolicyTable.owns($0) }
  }

  /// Makes the kernel's table what was applied, if it is not.
  package func mend() throws(DataplaneError) -> Verification {
    guard let state else { return Verification() }
    let comparison = try compare()
    if comparison.verification.isIntact { return comparison.verification }
    let whole = Self.replacement(state.whole(), state.layout, policies?.table())
    do throws(NftRefusal) {
      _ = try carry(comparison.mustReplace ? whole : comparison.messages)
    } catch {
      // In place it did not go: somebody holds on to what is not ours.
      _ = try run(whole, stage: "mend")
    }
    return comparison.verification
  }
}

extension Message {
  fileprivate var elementCount: Int {
    switch self {
    case .addElements(_, _, let elements), .deleteElements(_, _, let elements): elements.count
    default: 0
    }
  }
}

/// Takes one transaction to the kernel: all of it or nothing. Gives the bytes of its batch.
protocol MessageCarrier: Sendable {
  func run(_ messages: [Message]) throws(NftRefusal) -> NftSent
}

struct KernelCarrier: MessageCarrier {
  let transactions: NftTransactions

  func run(_ messages: [Message]) throws(NftRefusal) -> NftSent { try transactions.run(Program.encode(messages)) }
}

package struct DataplaneError: Error, Sendable, CustomStringConvertible {
  /// "apply services", "flush services".
  package var stage: String
  /// "add element inet martlet services4 { 10.96.0.1 . tcp . 80 : … }: ENOENT (2)".
  package var detail: String

  package var description: String { "\(stage): \(detail)" }
}

extension NftTable {
  fileprivate var hasServices: Bool {
    sets.contains { set in
      !set.elements.isEmpty && AddressFamily.allCases.contains { set.name == ServiceLayout.services($0).name }
    }
  }
}
