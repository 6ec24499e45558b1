internal import Kernel
internal import NFT

/// A traffic class of ours, which the packet priority carries. nft 1.0.6 reads a class only if it begins with a decimal
/// digit and neither half is 0: upper half `kind`, `group and masquerade`, one digit of the kind's own, 0; lower half a number.
struct Lane: Hashable, Sendable {
  /// Services with as many endpoints share a round-robin counter; that many counters are kept a count, so that calls
  /// that alternate between two services do not always meet the same endpoint of each.
  static let counters: UInt32 = 16

  enum Kind: Hashable, Sendable {
    case turn(endpoints: Int, counter: UInt32)
    case random(endpoints: Int)
    case hash(slots: Int)
    case keep(seconds: Int)
    case refuse
    case drop
    case split
    case restricted
  }
  /// Which endpoints: those for insiders, or those for outsiders.
  enum Group: UInt32, Sendable { case inside, outside }
  enum Leaving: UInt32, Sendable { case never, cluster, always, split }

  /// Which map knows the class: the kernel wants to see that no chain can lead back to itself.
  enum Level: UInt32, Sendable, CaseIterable {
    case first, guarded, split, draw

    /// In names of sets and chains.
    var suffix: String { ["", "-guarded", "-split", "-draw"][Int(rawValue)] }
  }

  var family: AddressFamily
  var kind: Kind
  var level = Level.first
  var group = Group.inside
  /// Only of the class that a service has in `services`.
  var leaving = Leaving.never

  var classID: UInt32 {
    let mixed = group.rawValue | leaving.rawValue << 1
    func make(_ kind: UInt32, _ own: UInt32, _ low: UInt32) -> UInt32 { kind << 28 | mixed << 24 | own << 20 | low }
    switch kind {
    case .turn(let endpoints, let counter): return make(1, counter, UInt32(endpoints))
    case .random(let endpoints): return make(2, 0, UInt32(endpoints))
    case .hash(let slots): return make(3, 0, UInt32(slots))
    case .keep(let seconds): return make(4, UInt32(seconds) >> 15, UInt32(seconds) & 0x7fff | 0x8000)
    case .refuse: return make(6, 0, 1)
    case .drop: return make(6, 0, 2)
    case .split: return make(6, 0, 3)
    case .restricted: return make(6, 0, 4)
    }
  }

  /// What `classID` was made of; nil for what is no class of a service.
  init?(_ family: AddressFamily, classID: UInt32) {
    let mixed = classID >> 24 & 0xf
    guard let group = Group(rawValue: mixed & 1), let leaving = Leaving(rawValue: mixed >> 1) else { return nil }
    let own = classID >> 20 & 0xf
    let low = classID & 0xffff
    switch (classID >> 28, low) {
    case (1, _): kind = .turn(endpoints: Int(low), counter: own)
    case (2, _): kind = .random(endpoints: Int(low))
    case (3, _): kind = .hash(slots: Int(low))
    case (4, _): kind = .keep(seconds: Int(own << 15 | low & 0x7fff))
    case (6, 1): kind = .refuse
    case (6, 2): kind = .drop
    case (6, 3): kind = .split
    case (6, 4): kind = .restricted
    default: return nil
    }
    (self.family, self.group, self.leaving) = (family, group, leaving)
  }

  init(_ family: AddressFamily, _ kind: Kind, _ group: Group = .inside) {
    (self.family, self.kind, self.group) = (family, kind, group)
  }

  var key: Words { Words().classID(classID) }

  /// What is in `lanes` beside the class.
  var verdict: Verdict {
    switch kind {
    case .turn, .random, .hash: .jump(chainName)
    case .keep, .refuse, .split, .restricted: .goto(chainName)
    case .drop: .drop
    }
  }

  /// What is in `leaves` beside the class.
  var leavingVerdict: Verdict? {
    let suffix = ServiceLayout.suffix(family)
    switch leaving {
    case .never: return nil
    case .cluster: return .goto("leave-cluster\(suffix)")
    case .always: return .goto("leave-always\(suffix)")
    case .split: return .goto("leave-split\(suffix)")
    }
  }

  private var chainName: String {
    let suffix = ServiceLayout.suffix(family)
    let tail = group == .outside ? "-out" : ""
    switch kind {
    case .turn(let endpoints, let counter): return "turn-\(endpoints)-\(counter)\(tail)"
    case .random(let endpoints): return "random-\(endpoints)\(tail)"
    case .hash(let slots): return "hash\(suffix)-\(slots)\(tail)"
    case .keep(let seconds): return "keep\(suffix)-\(seconds)\(tail)"
    case .refuse, .drop: return "refuse"
    case .split: return "split\(suffix)"
    case .restricted: return "guard\(suffix)"
    }
  }

  /// Nil for what is always there.
  var chain: Chain? {
    let first = Self.firstSlot(group)
    switch kind {
    case .turn(let endpoints, _):
      return chain(Rule(.setPriorityFrom(.counter(modulus: UInt32(endpoints), offset: first))))
    case .random(let endpoints):
      return chain(Rule(.setPriorityFrom(.random(modulus: UInt32(endpoints), offset: first))))
    case .hash(let slots):
      let slot = Operand.hash(
        [.sourceAddress(family), .destinationAddress(family)], modulus: UInt32(slots), seed: ServiceLayout.hashSeed,
        offset: first)
      return chain(Rule(.setPriorityFrom(slot)))
    case .keep(let seconds): return keepChain(UInt32(seconds))
    case .refuse, .drop, .split, .restricted: return nil
    }
  }

  private func chain(_ rules: Rule...) -> Chain { Chain(name: chainName, rules: rules) }

  /// Whoever is known goes where it went, if that endpoint is still one: its tag is then in `endpoints`. All others draw.
  private func keepChain(_ seconds: UInt32) -> Chain {
    let suffix = ServiceLayout.suffix(family)
    let client = [Operand.sourceAddress(family)] + ServiceLayout.service(family)
    let sticky = ServiceLayout.sticky(family, group).name
    let draw = group == .inside ? Step.drawInside : .drawOutside
    return chain(
      Rule(
        .setPriorityFromMap(client, map: sticky),
        .update(map: sticky, key: client, seconds: seconds, value: .priority), .verdict(.jump("deliver\(suffix)"))),
      Rule(.setPriority(draw.classID), .verdict(.jump("draw\(suffix)"))),
      Rule(.verdict(.jump("tag\(suffix)"))),
      // An update of what is there keeps its value: the endpoint that is gone.
      Rule(.forget(map: sticky, key: client, value: .priority)),
      Rule(.update(map: sticky, key: client, seconds: seconds, value: .priority)),
      Rule(.verdict(.goto("deliver\(suffix)"))))
  }

  // MARK: slots and tags

  /// The class of slot 0; the others follow.
  static func firstSlot(_ group: Group) -> UInt32 { (0x5000 | group.rawValue << 8) << 16 | 1 }

  /// A class that names an endpoint of a service as long as it is one, whatever its slot: 12 and 16 bits of a hash.
  static func tag(_ endpoint: ServiceEndpoint, _ group: Group) -> UInt32 {
    let hash = fnv(endpoint.address.bytes + [UInt8(endpoint.port >> 8), UInt8(endpoint.port & 0xff)])
    return (0x8 | group.rawValue) << 28 | (hash >> 4 & 0xfff) << 16 | max(1, (hash >> 16) ^ (hash & 0xffff))
  }

  /// FNV-1a, 32 bits, stirred: the same on every node and after every restart.
  static func fnv(_ bytes: [UInt8], seed: UInt32 = 0x811c_9dc5) -> UInt32 {
    var hash = seed
    for byte in bytes { hash = (hash ^ UInt32(byte)) &* 0x0100_0193 }
    hash ^= hash >> 16
    hash = hash &* 0x85eb_ca6b
    return hash ^ hash >> 13
  }
}

/// Which endpoint has which slot of a hash: each has as many as any other, give or take one, and one that comes or goes
/// moves little but its own (Eisenbud and others, "Maglev", 2016, §3.4).
enum HashSlots {
  /// Primes well above the number of endpoints: the excess bounds how unequal shares are. The number changes, and with
  /// it most clients' endpoint, only where a service grows past one of these bounds.
  static func count(endpoints: Int) -> Int {
    switch endpoints {
    case ...12: 127
    case ...50: 509
    case ...200: 2039
    case ...1000: 8191
    default: 65_521
    }
  }

  /// Indices of `endpoints`, which is not empty, slot by slot.
  static func fill(_ endpoints: [ServiceEndpoint]) -> [Int] {
    let count = HashSlots.count(endpoints: endpoints.count)
    var next: [Int] = []
    var strides: [Int] = []
    for endpoint in endpoints {
      let bytes = endpoint.address.bytes + [UInt8(endpoint.port >> 8), UInt8(endpoint.port & 0xff)]
      next.append(Int(Lane.fnv(bytes)) % count)
      strides.append(Int(Lane.fnv(bytes, seed: 0x9e37_79b9)) % (count - 1) + 1)
    }
    var slots = [Int](repeating: -1, count: count)
    var filled = 0
    while true {
      for index in endpoints.indices {
        while slots[next[index]] >= 0 { next[index] = (next[index] + strides[index]) % count }
        slots[next[index]] = index
        filled += 1
        if filled == count { return slots }
      }
    }
  }
}
