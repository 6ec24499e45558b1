/// What the zone says to a question.
package enum ZoneAnswer: Hashable, Sendable {
  /// The name is in no zone of ours.
  case elsewhere
  /// There is no such name.
  case nameError
  /// Records of that type, perhaps none, for a name that is there.
  case records([DNSRecord], additional: [DNSRecord] = [])
  /// The name is another's: the record that says so, and where to look on.
  case alias(DNSRecord, target: DNSName)
}

extension ClusterZone {
  private static let transports: Set<String> = ["_tcp", "_udp", "_sctp"]

  /// - Parameter turn: many addresses begin at another one each time, so that clients that take the first are spread.
  package func answer(_ question: DNSQuestion, turn: Int = 0) -> ZoneAnswer {
    guard question.classCode == DNSQuestion.classIN else { return .elsewhere }
    let words = question.name.words
    if words.last == "arpa" { return reverse(question, words) }
    guard words.count >= domainWords.count, words.suffix(domainWords.count).elementsEqual(domainWords) else {
      return .elsewhere
    }
    // From the root down, so that the cases read like the tree.
    let path = Array(words.dropLast(domainWords.count).reversed())
    switch path.first {
    case nil: return apex(question)
    case "dns-version" where path.count == 1:
      let text = DNSRecord.Data.text([Array(Self.schemaVersion.utf8)])
      return records(question, [(.txt, text)])
    case "dns" where path == ["dns", "ns"]: return records(question, serverAddresses.map(Self.address))
    case "dns" where path.count == 1: return .records([])
    case "svc": return service(question, Array(path.dropFirst()), turn)
    case "pod": return pod(question, Array(path.dropFirst()))
    default: return .nameError
    }
  }

  /// What goes with an answer that there is nothing (RFC 2308).
  package var authority: DNSRecord {
    DNSRecord(
      domain, .soa, ttl: Self.ttl,
      .authority(
        primary: inside("ns.dns"), mailbox: inside("hostmaster"), serial: 1, times: [7200, 1800, 86_400, Self.ttl]))
  }

  private func apex(_ question: DNSQuestion) -> ZoneAnswer {
    switch question.type {
    case .soa: .records([authority])
    case .ns: records(question, [(.ns, .name(inside("ns.dns")))])
    default: .records([])
    }
  }

  /// A name below the domain; its labels are names of objects, which fit.
  private func inside(_ text: String) -> DNSName { DNSName("\(text).\(domain.text)") ?? domain }

  private func name(_ key: ZoneKey, below label: String? = nil) -> DNSName {
    inside("\(label.map { "\($0)." } ?? "")\(key.name).\(key.namespace).svc")
  }

  private static func address(_ bytes: [UInt8]) -> (DNSType, DNSRecord.Data) {
    (bytes.count == 4 ? .a : .aaaa, .address(bytes))
  }

  private func records(_ question: DNSQuestion, _ all: [(DNSType, DNSRecord.Data)]) -> ZoneAnswer {
    .records(
      all.filter { question.type == $0.0 || question.type == .any }.map {
        DNSRecord(question.name, $0.0, ttl: Self.ttl, $0.1)
      })
  }

  // MARK: services

  private func service(_ question: DNSQuestion, _ path: [String], _ turn: Int) -> ZoneAnswer {
    guard let namespace = path.first else { return .records([]) }
    guard path.count > 1 else { return isKnown(namespace: namespace) ? .records([]) : .nameError }
    let key = ZoneKey(namespace: namespace, name: path[1])
    guard let service = services[key] else { return .nameError }
    if case .external(let target) = service.kind {
      guard path.count == 2 else { return .nameError }
      let record = DNSRecord(question.name, .cname, ttl: Self.ttl, .name(target))
      return question.type == .cname ? .records([record]) : .alias(record, target: target)
    }
    switch path.count {
    case 2: return whole(question, key, service, turn)
    case 3 where Self.transports.contains(path[2]):
      let transport = path[2].dropFirst()
      let isThere = ports(key, service).contains { !$0.name.isEmpty && $0.transport == transport }
      return isThere ? .records([]) : .nameError
    case 3:
      let found = endpoints(key).filter { $0.label == path[2] }
      return found.isEmpty ? .nameError : records(question, Self.unique(found.map(\.address)).map(Self.address))
    case 4 where Self.transports.contains(path[2]) && path[3].hasPrefix("_"):
      return ports(question, key, service, turn) { "_\($0.name)" == path[3] && "_\($0.transport)" == path[2] }
    default: return .nameError
    }
  }

  private func whole(_ question: DNSQuestion, _ key: ZoneKey, _ service: ZoneService, _ turn: Int) -> ZoneAnswer {
    if question.type == .srv { return ports(question, key, service, turn) { _ in true } }
    if case .virtual(let addresses) = service.kind { return records(question, addresses.map(Self.address)) }
    let found = Self.unique(endpoints(key).map(\.address))
    // A headless Service is its endpoints: without one there is nothing of that name.
    guard !found.isEmpty else { return .nameError }
    guard case .records(let all, _) = records(question, found.map(Self.address)) else { return .nameError }
    return .records(Self.rotated(all, turn))
  }

  private static func rotated<T>(_ all: [T], _ turn: Int) -> [T] {
    guard all.count > 1 else { return all }
    let first = Int(turn.magnitude % UInt(all.count))
    return Array(all[first...] + all[..<first])
  }

  /// In the order of the slices' names, so that the same state gives the same answer.
  private func endpoints(_ key: ZoneKey) -> [ZoneSlice.Endpoint] {
    (slices[key] ?? [:]).sorted { $0.key < $1.key }.flatMap(\.value.endpoints)
  }

  private static func unique(_ addresses: [[UInt8]]) -> [[UInt8]] {
    var seen: Set<[UInt8]> = []
    return addresses.filter { seen.insert($0).inserted }
  }

  private func ports(_ key: ZoneKey, _ service: ZoneService) -> [ZonePort] {
    if case .headless = service.kind { return (slices[key] ?? [:]).values.flatMap(\.ports) }
    return service.ports
  }

  private func ports(
    _ question: DNSQuestion, _ key: ZoneKey, _ service: ZoneService, _ turn: Int, _ isMeant: (ZonePort) -> Bool
  ) -> ZoneAnswer {
    var targets: [(port: ZonePort, name: DNSName)] = []
    var addresses: [DNSRecord] = []
    if case .virtual(let own) = service.kind {
      targets = service.ports.filter(isMeant).map { ($0, name(key)) }
      if !targets.isEmpty { addresses = own.map { Self.record(name(key), $0) } }
    } else {
      var seen: Set<DNSName> = []
      for (_, slice) in (slices[key] ?? [:]).sorted(by: { $0.key < $1.key }) {
        let meant = slice.ports.filter(isMeant)
        guard !meant.isEmpty else { continue }
        for endpoint in slice.endpoints {
          let name = name(key, below: endpoint.label)
          addresses.append(Self.record(name, endpoint.address))
          // An endpoint of two families has two slices and one name.
          if seen.insert(name).inserted { targets += meant.map { ($0, name) } }
        }
      }
    }
    guard !targets.isEmpty else { return .nameError }
    guard question.type == .srv || question.type == .any else { return .records([]) }
    let weight = UInt16(max(1, 100 / targets.count))
    let records = targets.map { target in
      DNSRecord(
        question.name, .srv, ttl: Self.ttl,
        .service(priority: 0, weight: weight, port: target.port.port, target: target.name))
    }
    return .records(Self.rotated(records, turn), additional: addresses)
  }

  private static func record(_ name: DNSName, _ bytes: [UInt8]) -> DNSRecord {
    let (type, data) = address(bytes)
    return DNSRecord(name, type, ttl: ttl, data)
  }

  // MARK: pods and addresses

  /// `10-1-2-3.NAMESPACE.pod`: the name says the address, and no more is promised.
  private func pod(_ question: DNSQuestion, _ path: [String]) -> ZoneAnswer {
    switch path.count {
    case 0, 1: return .records([])
    case 2:
      guard let address = DNSAddress.parse(dashed: path[1]) else { return .nameError }
      return records(question, [Self.address(address)])
    default: return .nameError
    }
  }

  private func reverse(_ question: DNSQuestion, _ words: [String]) -> ZoneAnswer {
    guard let address = DNSAddress.parse(reverse: words) else { return .elsewhere }
    var names = (owners[address] ?? []).sorted().map { name($0) }
    for key in (endpointOwners[address] ?? [:]).keys.sorted() where services[key]?.kind == .headless {
      let labels = Set(endpoints(key).filter { $0.address == address }.map(\.label))
      names += labels.sorted().map { name(key, below: $0) }
    }
    if names.isEmpty { return ranges.contains { $0.contains(address) } ? .nameError : .elsewhere }
    return records(question, names.map { (.ptr, .name($0)) })
  }
}
