internal import Kernel
internal import NFT

/// Which endpoint of a service stands in which slot. Turns and draws need slots without holes and mean nothing by their
/// order, so an endpoint keeps its slot as long as it is one: what a change costs follows the change, not the service.
/// A hash has an order of its own.
extension ServiceEntry {
  /// The same service with its endpoints in the order of the slots they have in `old`.
  func keepingSlots(of old: ServiceEntry?) -> ServiceEntry {
    guard let old, old.balance != .hash else { return self }
    return keepingSlots(old.endpoints, outside: old.outside ?? [])
  }

  func keepingSlots(_ inside: [ServiceEndpoint], outside others: [ServiceEndpoint]) -> ServiceEntry {
    if balance == .hash { return self }
    var entry = self
    entry.endpoints = Self.merged(endpoints, into: inside)
    if let outside { entry.outside = Self.merged(outside, into: others) }
    return entry
  }

  /// Whoever is in both stays; who is new takes the place of who went; where there are fewer, the last ones do.
  private static func merged(_ wanted: [ServiceEndpoint], into old: [ServiceEndpoint]) -> [ServiceEndpoint] {
    if old.isEmpty || wanted.isEmpty || old == wanted { return wanted }
    let keeps = Set(wanted)
    var seen: Set<ServiceEndpoint> = []
    var slots: [ServiceEndpoint?] = old.map { keeps.contains($0) && seen.insert($0).inserted ? $0 : nil }
    var added = wanted.filter { !seen.contains($0) }[...]
    for slot in slots.indices where slots[slot] == nil { slots[slot] = added.popFirst() }
    slots += added.map { Optional($0) }
    var result: [ServiceEndpoint] = []
    result.reserveCapacity(wanted.count)
    var end = slots.count
    var slot = 0
    while slot < end {
      if let endpoint = slots[slot] {
        result.append(endpoint)
        slot += 1
        continue
      }
      end -= 1
      slots[slot] = slots[end]
    }
    return result
  }
}

/// The slots of a table that another owner left, so that a successor changes none that need not change.
struct ListedSlots {
  private var endpoints: [Words: ServiceEndpoint] = [:]

  init(_ found: NftTable) {
    for family in AddressFamily.allCases {
      let name = ServiceLayout.endpoints(family).name
      for element in found.sets.first(where: { $0.name == name })?.elements ?? [] {
        if let value = element.value { endpoints[Words(listed: element.key)] = ServiceEndpoint(value, family) }
      }
    }
  }

  /// `services` with each one's endpoints where they are already.
  func ordering(
    _ services: [ServiceEntry.Key: ServiceEntry], nodePortAddresses: Set<IPAddress>
  ) -> [ServiceEntry.Key: ServiceEntry] {
    if endpoints.isEmpty { return services }
    var ordered = services
    let addresses = nodePortAddresses.sorted()
    for (key, entry) in services where entry.balance != .hash {
      var place = key
      if key.address.isUnspecified {
        guard let address = addresses.first(where: { $0.family == key.address.family }) else { continue }
        place.address = address
      }
      ordered[key] = entry.keepingSlots(
        slots(place, .inside),
        outside: slots(place, .outside))
    }
    return ordered
  }

  /// Up to the first that is missing.
  private func slots(_ key: ServiceEntry.Key, _ group: Lane.Group) -> [ServiceEndpoint] {
    var found: [ServiceEndpoint] = []
    while found.count < ServiceTable.endpointsPerServiceMax,
      let endpoint = endpoints[ServiceLayout.key(key, Lane.firstSlot(group) + UInt32(found.count))]
    {
      found.append(endpoint)
    }
    return found
  }
}

extension ServiceEndpoint {
  /// As the kernel lists it: nil for what is none.
  init?(_ listed: [UInt8], _ family: AddressFamily) {
    let rest = listed.dropFirst(family.addressBytes)
    guard rest.count >= 2, let address = IPAddress(bytes: listed.prefix(family.addressBytes)) else { return nil }
    self.init(address: address, port: rest.prefix(2).reduce(0) { $0 << 8 | UInt16($1) })
  }
}
