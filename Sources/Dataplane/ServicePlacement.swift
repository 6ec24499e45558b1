internal import Kernel
internal import NFT

/// What one service, at one address, has in the sets: elements that are its alone, and what it shares with others.
struct ServicePlacement {
  /// The sets whose elements belong to one service.
  enum Place: Int, CaseIterable, Hashable {
    case services, steps, endpoints, ranges

    func declaration(_ family: AddressFamily) -> SetDeclaration {
      switch self {
      case .services: ServiceLayout.services(family)
      case .steps: ServiceLayout.steps(family)
      case .endpoints: ServiceLayout.endpoints(family)
      case .ranges: ServiceLayout.ranges(family)
      }
    }
  }

  /// In an order that the entry alone decides.
  var elements: [(place: Place, element: Element)] = []
  var lanes: [Lane] = []
  private let layout: ServiceLayout
  private let key: ServiceEntry.Key
  private let family: AddressFamily

  /// - Parameter key: the entry's own, or with the address that a node port stands at.
  init(_ entry: ServiceEntry, at key: ServiceEntry.Key, _ layout: ServiceLayout) {
    (self.layout, self.key, family) = (layout, key, key.address.addressFamily)
    var lane = place(entry, entry.endpoints, entry.whenEmpty, .inside)
    if let outside = entry.outside {
      let other = place(entry, outside, entry.outsideWhenEmpty, .outside)
      if lane == nil && other == nil { return }
      step(.inside, lane)
      step(.outside, other)
      lane = Lane(family, .split)
    }
    guard var first = lane else { return }
    if let ranges = entry.sourceRanges {
      step(.guarded, first)
      first = Lane(family, .restricted)
      for prefix in ranges { elements.append((.ranges, ServiceLayout.range(key, prefix))) }
    }
    first.leaving = leaving(entry)
    lanes.append(first)
    elements.append((.services, Element(ServiceLayout.key(key), .data(first.key))))
  }

  private func leaving(_ entry: ServiceEntry) -> Lane.Leaving {
    switch entry.masquerade {
    case .always: return .always
    case .never: return .never
    case .automatic: break
    }
    if entry.outside != nil { return .split }
    switch entry.kind {
    case .cluster: return layout.masqueradeAll ? .always : .cluster
    case .nodePort, .external: return .always
    case .hostPort: return .never
    }
  }

  private mutating func step(_ step: Step, _ lane: Lane?) {
    guard var lane else { return }
    switch step {
    case .inside, .outside: lane.level = .split
    case .guarded: lane.level = .guarded
    case .drawInside, .drawOutside: lane.level = .draw
    }
    lanes.append(lane)
    elements.append((.steps, Element(ServiceLayout.key(key, step.classID), .data(lane.key))))
  }

  /// The lane of one group of endpoints, with its slots placed; nil where nothing is to be programmed.
  private mutating func place(
    _ entry: ServiceEntry, _ endpoints: [ServiceEndpoint], _ whenEmpty: ServiceEntry.Emptiness, _ group: Lane.Group
  ) -> Lane? {
    if endpoints.isEmpty {
      switch whenEmpty {
      case .reject: return Lane(family, .refuse)
      case .drop: return Lane(family, .drop)
      case .none: return nil
      }
    }
    let slots: [ServiceEndpoint]
    let draw: Lane
    switch entry.balance {
    case .roundRobin:
      let counter = Lane.fnv(ServiceLayout.key(key).bytes) % Lane.counters
      draw = Lane(family, .turn(endpoints: endpoints.count, counter: counter), group)
      slots = endpoints
    case .random:
      draw = Lane(family, .random(endpoints: endpoints.count), group)
      slots = endpoints
    case .hash:
      slots = HashSlots.fill(endpoints).map { endpoints[$0] }
      draw = Lane(family, .hash(slots: slots.count), group)
    }
    for (slot, endpoint) in slots.enumerated() { put(Lane.firstSlot(group) + UInt32(slot), endpoint) }
    guard let seconds = entry.affinitySeconds else { return draw }
    step(group == .inside ? .drawInside : .drawOutside, draw)
    var tags: [ServiceEndpoint: UInt32] = [:]
    var taken: Set<UInt32> = []
    for endpoint in endpoints {
      var tag = Lane.tag(endpoint, group)
      while !taken.insert(tag).inserted { tag = tag & 0xffff == 0xffff ? tag & 0xffff_0000 | 1 : tag + 1 }
      tags[endpoint] = tag
      put(tag, endpoint)
    }
    for (slot, endpoint) in slots.enumerated() {
      guard let tag = tags[endpoint] else { continue }
      let slotKey = ServiceLayout.key(key, Lane.firstSlot(group) + UInt32(slot))
      elements.append((.steps, Element(slotKey, .data(Words().classID(tag)))))
    }
    return Lane(family, .keep(seconds: seconds), group)
  }

  private mutating func put(_ classID: UInt32, _ endpoint: ServiceEndpoint) {
    elements.append(
      (.endpoints, Element(ServiceLayout.key(key, classID), .data(ServiceLayout.endpointValue(endpoint)))))
  }

  /// What turns the elements of `old` into those of `new`, by set.
  static func difference(
    from old: ServicePlacement?, to new: ServicePlacement?,
    _ note: (Place, _ removed: Element?, _ added: Element?) -> Void
  ) {
    guard let old, let new else {
      for (place, element) in old?.elements ?? [] { note(place, element, nil) }
      for (place, element) in new?.elements ?? [] { note(place, nil, element) }
      return
    }
    struct Identity: Hashable {
      var place: Place
      var key: Words
      var last: Words?

      init(_ place: Place, _ element: Element) {
        (self.place, key) = (place, element.key)
        if case .upTo(let last) = element.value { self.last = last }
      }
    }
    var before: [Identity: Element] = [:]
    for (place, element) in old.elements { before[Identity(place, element)] = element }
    for (place, element) in new.elements {
      let was = before.removeValue(forKey: Identity(place, element))
      if was != element { note(place, was, element) }
    }
    for (place, element) in old.elements where before[Identity(place, element)] != nil { note(place, element, nil) }
  }
}
