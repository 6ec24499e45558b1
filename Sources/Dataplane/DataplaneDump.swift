internal import Kernel
internal import NFT

extension DataplaneDump {
  /// Reads the table of the calling thread's network namespace; nil where there is none. Needs CAP_NET_ADMIN; blocks.
  package static func read() throws(DataplaneError) -> DataplaneDump? {
    let found: NftTable?
    do throws(SyscallError) {
      found = try NftTransactions().read(table: ServiceLayout.tableName)
    } catch {
      throw DataplaneError(stage: "read table inet \(ServiceLayout.tableName)", detail: error.description)
    }
    return found.map { DataplaneDump($0) }
  }

  init(_ found: NftTable) {
    var table = Table(name: ServiceLayout.tableName, sets: [], chains: [])
    var strangers: [String] = []
    for set in found.sets {
      guard let declaration = SetDeclaration(set) else {
        strangers.append("set \(set.name) is of a kind that is not ours")
        continue
      }
      var named = NamedSet(declaration)
      for listed in set.elements {
        let element = Element(listed, in: declaration)
        named.elements[element.key] = element.value
      }
      table.sets.append(named)
    }
    for chain in found.chains {
      let read = Chain(chain)
      if read.rules.contains(where: \.isForeign) { strangers.append("chain \(chain.name) has a rule that is not ours") }
      table.chains.append(read)
    }
    self.table = table
    services = Self.services(table)
    let missing = services.flatMap { service in service.missing }
    let all = strangers + missing
    verification = Verification(
      differences: Array(all.prefix(Verification.differencesMax)), count: all.count)
    text = table.text
  }

  /// What the elements say, service by service, in order.
  private static func services(_ table: Table) -> [Service] {
    let sets = Dictionary(table.sets.map { ($0.declaration.name, $0.elements) }) { $1 }
    var services: [Service] = []
    for family in AddressFamily.allCases {
      let reader = Reader(family: family, sets: sets)
      services += reader.services()
    }
    return services.sorted { $0.key < $1.key }
  }
}

/// Follows a service's elements from its class to its endpoints, as a packet does.
private struct Reader {
  let family: AddressFamily
  let steps: [Words: ElementValue]
  let endpoints: [Words: ElementValue]
  private let classes: [Words: ElementValue]
  private var ranges: [Words: [IPPrefix]] = [:]

  init(family: AddressFamily, sets: [String: [Words: ElementValue]]) {
    self.family = family
    classes = sets[ServiceLayout.services(family).name] ?? [:]
    steps = sets[ServiceLayout.steps(family).name] ?? [:]
    endpoints = sets[ServiceLayout.endpoints(family).name] ?? [:]
    for (first, value) in sets[ServiceLayout.ranges(family).name] ?? [:] {
      guard case .upTo(let last) = value else { continue }
      let low = first.bytes.suffix(family.addressBytes)
      let high = last.bytes.suffix(family.addressBytes)
      let differing = zip(low, high).map { ($0 ^ $1).nonzeroBitCount }.reduce(0, +)
      guard let address = IPAddress(bytes: low),
        let prefix = IPPrefix(address: address, length: family.addressBytes * 8 - differing)
      else { continue }
      ranges[Words(listed: Array(first.bytes.dropLast(family.addressBytes))), default: []].append(prefix)
    }
  }

  func services() -> [DataplaneDump.Service] { classes.compactMap { service($0, $1) } }

  private func service(_ key: Words, _ value: ElementValue) -> DataplaneDump.Service? {
    guard let name = ServiceEntry.Key(key, family), var lane = lane(value) else { return nil }
    var service = DataplaneDump.Service(key: name, balance: "", affinitySeconds: nil, endpoints: [], outside: nil)
    if case .restricted = lane.kind {
      service.sourceRanges = (ranges[key] ?? []).sorted { $0.address < $1.address }
      guard let next = step(key, .guarded) else { return service }
      lane = next
    }
    guard case .split = lane.kind else {
      service.endpoints = read(key, lane, &service)
      return service
    }
    if let inside = step(key, .inside) { service.endpoints = read(key, inside, &service) }
    let other = step(key, .outside)
    service.outside = other.map { read(key, $0, &service) } ?? []
    return service
  }

  private func lane(_ value: ElementValue) -> Lane? {
    guard case .data(let words) = value, words.bytes.count == 4 else { return nil }
    return Lane(family, classID: words.number)
  }

  private func step(_ key: Words, _ step: Step) -> Lane? {
    steps[Words(listed: key.bytes).classID(step.classID)].flatMap(lane)
  }

  private func read(_ key: Words, _ lane: Lane, _ service: inout DataplaneDump.Service) -> [ServiceEndpoint] {
    var lane = lane
    if case .keep(let seconds) = lane.kind {
      service.affinitySeconds = seconds
      guard let draw = step(key, lane.group == .inside ? .drawInside : .drawOutside) else { return [] }
      lane = draw
    }
    let slots: Int
    switch lane.kind {
    case .turn(let count, _): (service.balance, slots) = ("round-robin", count)
    case .random(let count): (service.balance, slots) = ("random", count)
    case .hash(let count): (service.balance, slots) = ("hash", count)
    case .refuse: (service.balance, slots) = (service.balance.isEmpty ? "refused" : service.balance, 0)
    case .drop: (service.balance, slots) = (service.balance.isEmpty ? "dropped" : service.balance, 0)
    case .keep, .split, .restricted: return []
    }
    var found: Set<ServiceEndpoint> = []
    for slot in 0..<slots {
      let slotKey = Words(listed: key.bytes).classID(Lane.firstSlot(lane.group) + UInt32(slot))
      guard case .data(let words) = self.endpoints[slotKey],
        let endpoint = ServiceEndpoint(words.bytes, family)
      else {
        service.missing.append(
          "service \(service.key.address) \(service.key.transport) port \(service.key.port) has no endpoint in slot \(slot)"
        )
        continue
      }
      found.insert(endpoint)
    }
    return found.sorted()
  }
}

extension ServiceEntry.Key {
  fileprivate init?(_ words: Words, _ family: AddressFamily) {
    let rest = words.bytes.dropFirst(family.addressBytes)
    guard rest.count == 8, let address = IPAddress(bytes: words.bytes.prefix(family.addressBytes)),
      let transport = TransportProtocol(rawValue: rest[rest.startIndex])
    else { return nil }
    let port = rest.dropFirst(4).prefix(2).reduce(0) { $0 << 8 | UInt16($1) }
    self.init(address: address, transport: transport, port: port)
  }
}

extension SetDeclaration {
  /// Nil for what no set of ours is.
  fileprivate init?(_ listed: NftTable.Set) {
    guard let key = DataType.list(listed.keyType) else { return nil }
    let value: Value
    switch listed.valueType {
    case 0: value = .none
    case 0xffff_ff00: value = .verdict
    default:
      guard let types = DataType.list(listed.valueType) else { return nil }
      value = .data(types)
    }
    var behaviour = Behaviour.plain
    if listed.size != 0 { behaviour = .large }
    if listed.flags & 4 != 0 { behaviour = .intervals }
    if listed.flags & 0x20 != 0 { behaviour = .dynamic(size: listed.size) }
    self.init(name: listed.name, key: key, value: value, behaviour: behaviour)
  }
}

extension Chain {
  fileprivate init(_ listed: NftTable.Chain) {
    var base: Base?
    if let type = listed.type.flatMap(Base.Kind.init), let hook = listed.hook.flatMap(Base.Hook.init),
      let priority = listed.priority
    {
      base = Base(kind: type, hook: hook, priority: priority)
    }
    self.init(name: listed.name, base: base, rules: listed.rules.map { Rule(listed: $0) })
  }
}

extension Rule {
  fileprivate var isForeign: Bool {
    statements.contains { if case .foreign = $0 { true } else { false } }
  }
}
