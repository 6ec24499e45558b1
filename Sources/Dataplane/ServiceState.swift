package import Kernel
package import NFT

/// What the kernel's table holds, and the step from there to another state: as much work as there are changed services.
struct ServiceState: Sendable {
  private(set) var services: [ServiceEntry.Key: ServiceEntry] = [:]
  // Several services may share these; the element goes with its last user.
  private var lanes: [Lane: Int] = [:]
  private var addresses: [IPAddress: Int] = [:]
  private var hairpins: [IPAddress: Int] = [:]

  /// What changes in the kernel when services change.
  struct Step: Sendable {
    var elements: [SetDeclaration: ElementDifference] = [:]
    var addedLanes: [Lane] = []
    var removedLanes: [Lane] = []
    /// UDP flows that lead where they must not any more.
    var staleFlows: Set<TranslatedFlow> = []

    var addedElements: Int { elements.values.reduce(0) { $0 + $1.added.count } }
    var removedElements: Int { elements.values.reduce(0) { $0 + $1.removed.count } }
  }

  /// Moves to the state with each of `changes` set, or gone where nil, and tells how the kernel gets there.
  mutating func apply(_ changes: [ServiceEntry.Key: ServiceEntry?]) -> Step {
    var step = Step()
    var users = Users()
    for (key, entry) in changes.sorted(by: { $0.key < $1.key }) {
      let old = services[key]
      guard old != entry else { continue }
      replace(key, old, entry, &step)
      users.count(old, -1)
      users.count(entry, 1)
      services[key] = entry
    }
    settle(users, &step)
    return step
  }

  /// Service and endpoint elements belong to one service alone: compare and note.
  private func replace(_ key: ServiceEntry.Key, _ old: ServiceEntry?, _ new: ServiceEntry?, _ step: inout Step) {
    let family = key.address.addressFamily
    let words = ServiceLayout.key(key)
    let oldLane = old.map { Lane($0) }
    let newLane = new.map { Lane($0) }
    if oldLane != newLane {
      func element(_ lane: Lane) -> Element { Element(words, .data(lane.key)) }
      step.note(ServiceLayout.services(family), removed: oldLane.map(element), added: newLane.map(element))
    }
    let before = old?.endpoints ?? []
    let after = new?.endpoints ?? []
    for slot in 0..<max(before.count, after.count) {
      let left = slot < before.count ? before[slot] : nil
      let right = slot < after.count ? after[slot] : nil
      if left == right { continue }
      let slotKey = ServiceLayout.endpointKey(key, slot: slot)
      func element(_ endpoint: ServiceEndpoint) -> Element {
        Element(slotKey, .data(ServiceLayout.endpointValue(endpoint)))
      }
      step.note(ServiceLayout.endpoints(family), removed: left.map(element), added: right.map(element))
    }
    if key.transport == .udp { step.noteFlows(key, before, after, serviceIsNew: old == nil) }
  }

  /// How often lanes, addresses and hairpins are used more or less than before.
  private struct Users {
    var lanes: [Lane: Int] = [:]
    var addresses: [IPAddress: Int] = [:]
    var hairpins: [IPAddress: Int] = [:]

    mutating func count(_ entry: ServiceEntry?, _ change: Int) {
      guard let entry else { return }
      lanes[Lane(entry), default: 0] += change
      addresses[entry.address, default: 0] += change
      for endpoint in entry.endpoints { hairpins[endpoint.address, default: 0] += change }
    }
  }

  private mutating func settle(_ users: Users, _ step: inout Step) {
    for (lane, change) in users.lanes.sorted(by: { $0.key < $1.key }) where lane != .refused {
      let (appeared, vanished) = Self.count(&lanes, lane, change)
      let element = Element(lane.key, .verdict(.goto(lane.chainName)))
      if appeared {
        step.addedLanes.append(lane)
        step.note(ServiceLayout.lanes, removed: nil, added: element)
      }
      if vanished {
        step.removedLanes.append(lane)
        step.note(ServiceLayout.lanes, removed: element, added: nil)
      }
    }
    for (address, change) in users.addresses.sorted(by: { $0.key < $1.key }) {
      let (appeared, vanished) = Self.count(&addresses, address, change)
      let element = Element(Words().address(address.bytes))
      step.note(
        ServiceLayout.addresses(address.addressFamily), removed: vanished ? element : nil,
        added: appeared ? element : nil)
    }
    for (address, change) in users.hairpins.sorted(by: { $0.key < $1.key }) {
      let (appeared, vanished) = Self.count(&hairpins, address, change)
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

  /// The whole table of this state.
  func table(_ layout: ServiceLayout) -> Table {
    var table = layout.emptyTable()
    var all = ServiceState()
    let step = all.apply(services.mapValues { Optional($0) })
    for index in table.sets.indices {
      for element in step.elements[table.sets[index].declaration]?.added ?? [] {
        table.sets[index].elements[element.key] = element.value
      }
    }
    table.chains += step.addedLanes.compactMap(\.chain)
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
  fileprivate mutating func noteFlows(
    _ key: ServiceEntry.Key, _ before: [ServiceEndpoint], _ after: [ServiceEndpoint], serviceIsNew: Bool
  ) {
    let kept = Set(after)
    for endpoint in before where !kept.contains(endpoint) {
      staleFlows.insert(
        TranslatedFlow(
          virtualAddress: key.address, virtualPort: key.port, endpoint: endpoint.address, endpointPort: endpoint.port))
    }
    if serviceIsNew {
      staleFlows.insert(
        TranslatedFlow(
          virtualAddress: key.address, virtualPort: key.port, endpoint: key.address, endpointPort: key.port))
    }
  }

  /// The step as one transaction: new chains, elements, then chains that nothing leads to any more.
  var messages: [Message] {
    let table = ServiceLayout.tableName
    var messages: [Message] = []
    for lane in addedLanes {
      guard let chain = lane.chain else { continue }
      messages.append(.addChain(table: table, chain.name, nil))
      messages += chain.rules.map { .addRule(table: table, chain: chain.name, $0) }
    }
    for (set, difference) in elements.sorted(by: { $0.key.name < $1.key.name }) {
      messages += Table.messages(table: table, set, difference)
    }
    for lane in removedLanes {
      messages.append(.deleteRules(table: table, chain: lane.chainName))
      messages.append(.deleteChain(table: table, lane.chainName))
    }
    return messages
  }
}

extension ServiceTable {
  /// The table that a kernel which holds exactly these services holds.
  package func table(podCIDRs: [IPPrefix]) -> Table {
    var state = ServiceState()
    _ = state.apply(services.mapValues { Optional($0) })
    return state.table(ServiceLayout(podCIDRs: podCIDRs))
  }
}
