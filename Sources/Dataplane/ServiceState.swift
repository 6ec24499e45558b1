package import Kernel
package import NFT

/// What the kernel's table holds of services, and the step from there to another state: as much work as there are
/// changed services.
struct ServiceState: Sendable {
  let layout: ServiceLayout
  private(set) var services: [ServiceEntry.Key: ServiceEntry] = [:]
  private(set) var nodePortAddresses: Set<IPAddress> = []
  // Several services may share these; the element goes with its last user.
  private var lanes: [Lane: Int] = [:]
  private var chains: [String: Int] = [:]
  private var hairpins: [IPAddress: Int] = [:]

  init(layout: ServiceLayout) { self.layout = layout }

  /// What changes in the kernel when services change.
  struct Step: Sendable {
    var elements: [SetDeclaration: ElementDifference] = [:]
    var addedChains: [Chain] = []
    var removedChains: [String] = []
    /// UDP flows that lead where they must not any more.
    var staleFlows: Set<TranslatedFlow> = []
    /// Services with affinity that have lost endpoints: clients that were led to these are forgotten.
    var lostTags: [AddressFamily: Set<Words>] = [:]
    var problems: [EntryProblem] = []

    var addedElements: Int { elements.values.reduce(0) { $0 + $1.added.count } }
    var removedElements: Int { elements.values.reduce(0) { $0 + $1.removed.count } }
  }

  /// Moves to the state with each of `changes` set, or gone where nil, and tells how the kernel gets there.
  /// - Parameter exactly: endpoints stand in the order they are given in, as when a step is undone; else each keeps the
  ///   slot it has.
  mutating func apply(
    _ changes: [ServiceEntry.Key: ServiceEntry?], nodePortAddresses addresses: Set<IPAddress>? = nil,
    exactly: Bool = false
  ) -> Step {
    var step = Step()
    var users = Users()
    // Before anything is there, nothing can be there already.
    if services.isEmpty, addresses == nil, nodePortAddresses.isEmpty {
      services.reserveCapacity(changes.count)
      for (key, entry) in changes {
        guard let entry else { continue }
        services[key] = entry
        if !key.address.isUnspecified { replace(key, nil, entry, &step, &users) }
      }
    } else {
      var affected: Set<ServiceEntry.Key> = []
      let everywhere = nodePortAddresses.union(addresses ?? [])
      for key in changes.keys {
        if key.address.isUnspecified { affected.formUnion(places(key, everywhere)) } else { affected.insert(key) }
      }
      if let addresses {
        let moved = nodePortAddresses.symmetricDifference(addresses)
        for key in services.keys where key.address.isUnspecified { affected.formUnion(places(key, moved)) }
      }
      var before: [ServiceEntry.Key: ServiceEntry] = [:]
      for key in affected { before[key] = resolved(key) }
      for (key, entry) in changes {
        services[key] = exactly ? entry : entry?.keepingSlots(of: services[key])
      }
      if let addresses { nodePortAddresses = addresses }
      for key in affected.sorted() { replace(key, before[key], resolved(key), &step, &users) }
      noteConflicts(affected, &step)
    }
    settle(users, &step)
    return step
  }

  /// Where a service stands: its own address, or every one of `addresses` that is of its family.
  private func places(_ key: ServiceEntry.Key, _ addresses: Set<IPAddress>) -> [ServiceEntry.Key] {
    guard key.address.isUnspecified else { return [key] }
    return addresses.filter { $0.family == key.address.family }.map {
      ServiceEntry.Key(address: $0, transport: key.transport, port: key.port)
    }
  }

  /// Whose a real address, protocol and port is: who names the address goes before who has all of the node's.
  func resolved(_ key: ServiceEntry.Key) -> ServiceEntry? {
    if let entry = services[key] { return entry }
    return nodePortAddresses.contains(key.address) ? services[Self.everywhere(key)] : nil
  }

  private static let anyIPv4 = IPAddress.ipv4(0, 0, 0, 0)
  private static let anyIPv6 = IPAddress(bytes: [UInt8](repeating: 0, count: 16))

  private static func everywhere(_ key: ServiceEntry.Key) -> ServiceEntry.Key {
    let address = key.address.family == .ipv4 ? anyIPv4 : anyIPv6 ?? anyIPv4
    return ServiceEntry.Key(address: address, transport: key.transport, port: key.port)
  }

  private func noteConflicts(_ keys: Set<ServiceEntry.Key>, _ step: inout Step) {
    for key in keys where nodePortAddresses.contains(key.address) {
      guard let holder = services[key], let other = services[Self.everywhere(key)] else { continue }
      step.problems.append(
        EntryProblem(other, .addressTaken, "at \(key.address) the port is service \(holder.id)'s"))
    }
  }

  private func replace(
    _ key: ServiceEntry.Key, _ old: ServiceEntry?, _ new: ServiceEntry?, _ step: inout Step, _ users: inout Users
  ) {
    if old == new { return }
    let family = key.address.addressFamily
    let before = old.map { ServicePlacement($0, at: key, layout) }
    let after = new.map { ServicePlacement($0, at: key, layout) }
    ServicePlacement.difference(from: before, to: after) { place, removed, added in
      step.note(place.declaration(family), removed: removed, added: added)
    }
    users.count(old, before, -1)
    users.count(new, after, 1)
    if old?.affinitySeconds != nil {
      for endpoint in Set(old?.endpoints ?? []).subtracting(new?.endpoints ?? []) {
        step.lostTags[family, default: []].insert(ServiceLayout.key(key, Lane.tag(endpoint, .inside)))
      }
      for endpoint in Set(old?.outside ?? []).subtracting(new?.outside ?? []) {
        step.lostTags[family, default: []].insert(ServiceLayout.key(key, Lane.tag(endpoint, .outside)))
      }
    }
    if key.transport == .udp { step.noteFlows(key, old, new) }
  }

  /// How often lanes and hairpins are used more or less than before.
  private struct Users {
    var lanes: [Lane: Int] = [:]
    var hairpins: [IPAddress: Int] = [:]

    mutating func count(_ entry: ServiceEntry?, _ placement: ServicePlacement?, _ change: Int) {
      guard let entry, let placement else { return }
      for lane in placement.lanes { lanes[lane, default: 0] += change }
      for endpoint in entry.endpoints { hairpins[endpoint.address, default: 0] += change }
      for endpoint in entry.outside ?? [] { hairpins[endpoint.address, default: 0] += change }
    }
  }

  private mutating func settle(_ users: Users, _ step: inout Step) {
    var chainUsers: [String: (change: Int, chain: Chain)] = [:]
    for (lane, change) in users.lanes {
      let (appeared, vanished) = Self.count(&lanes, lane, change)
      if !appeared && !vanished { continue }
      let element = Element(lane.key, .verdict(lane.verdict))
      step.note(
        ServiceLayout.lanes(lane.family, lane.level), removed: vanished ? element : nil, added: appeared ? element : nil
      )
      if let verdict = lane.leavingVerdict {
        let leaving = Element(lane.key, .verdict(verdict))
        step.note(
          ServiceLayout.leaves(lane.family), removed: vanished ? leaving : nil, added: appeared ? leaving : nil)
      }
      if let chain = lane.chain { chainUsers[chain.name, default: (0, chain)].change += appeared ? 1 : -1 }
    }
    for (name, user) in chainUsers.sorted(by: { $0.key < $1.key }) {
      let (appeared, vanished) = Self.count(&chains, name, user.change)
      if appeared { step.addedChains.append(user.chain) }
      if vanished { step.removedChains.append(name) }
    }
    for (address, change) in users.hairpins {
      let (appeared, vanished) = Self.count(&hairpins, address, change)
      if !appeared && !vanished { continue }
      let element = Element(ServiceLayout.hairpin(address))
      step.note(
        ServiceLayout.hairpins(address.addressFamily), removed: vanished ? element : nil,
        added: appeared ? element : nil)
    }
  }

  private static func count<Key: Hashable>(
    _ counts: inout [Key: Int], _ key: Key, _ change: Int
  ) -> (appeared: Bool, vanished: Bool) {
    let before = counts[key] ?? 0
    let after = before + change
    counts[key] = after == 0 ? nil : after
    return (before == 0 && after > 0, before > 0 && after == 0)
  }

  /// The step from nothing to here.
  func whole() -> Step {
    var all = ServiceState(layout: layout)
    return all.apply(services.mapValues { Optional($0) }, nodePortAddresses: nodePortAddresses)
  }

  /// The whole table of this state.
  func table() -> Table {
    var table = layout.emptyTable()
    let step = whole()
    for index in table.sets.indices {
      for element in step.elements[table.sets[index].declaration]?.added ?? [] {
        table.sets[index].elements[element.key] = element.value
      }
    }
    table.chains += step.addedChains
    return table
  }
}

extension ServiceState.Step {
  fileprivate mutating func note(_ set: SetDeclaration, removed: Element?, added: Element?) {
    if removed == nil && added == nil { return }
    if let removed { elements[set, default: ElementDifference()].removed.append(removed) }
    if let added { elements[set, default: ElementDifference()].added.append(added) }
  }

  /// A client that goes on sending from one port would keep its flow's old translation for ever. Besides vanished
  /// endpoints, that holds for what was sent to an address before it was a service: such a flow has no translation.
  fileprivate mutating func noteFlows(_ key: ServiceEntry.Key, _ old: ServiceEntry?, _ new: ServiceEntry?) {
    let kept = Set((new?.endpoints ?? []) + (new?.outside ?? []))
    for endpoint in Set((old?.endpoints ?? []) + (old?.outside ?? [])) where !kept.contains(endpoint) {
      staleFlows.insert(
        TranslatedFlow(
          virtualAddress: key.address, virtualPort: key.port, endpoint: endpoint.address, endpointPort: endpoint.port))
    }
    if old == nil || old?.endpoints.isEmpty == true && old?.whenEmpty == ServiceEntry.Emptiness.none {
      staleFlows.insert(
        TranslatedFlow(
          virtualAddress: key.address, virtualPort: key.port, endpoint: key.address, endpointPort: key.port))
    }
  }

  /// The step as one transaction: new chains, elements, then chains that nothing leads to any more.
  var messages: [Message] {
    let table = ServiceLayout.tableName
    var messages: [Message] = []
    for chain in addedChains {
      messages.append(.addChain(table: table, chain.name, nil))
      messages += chain.rules.map { .addRule(table: table, chain: chain.name, $0) }
    }
    for (set, difference) in elements.sorted(by: { $0.key.name < $1.key.name }) {
      messages += Table.messages(table: table, set, difference)
    }
    for name in removedChains {
      messages.append(.deleteRules(table: table, chain: name))
      messages.append(.deleteChain(table: table, name))
    }
    return messages
  }
}

extension ServiceTable {
  /// The table that a kernel which holds exactly these services holds.
  package func table(podCIDRs: [IPPrefix], masqueradeAll: Bool = false, nodePortAddresses: Set<IPAddress> = []) -> Table
  {
    var state = ServiceState(layout: ServiceLayout(podCIDRs: podCIDRs, masqueradeAll: masqueradeAll))
    _ = state.apply(services.mapValues { Optional($0) }, nodePortAddresses: nodePortAddresses)
    return state.table()
  }
}
