import DNSMessage
import Testing

private func name(_ text: String) -> DNSName { DNSName(text) ?? .root }

/// One cluster with a Service of each kind.
private func cluster() -> ClusterZone {
  var zone = ClusterZone(domain: name("cluster.local"))
  zone.serverAddresses = [[10, 96, 0, 10]]
  zone.ranges = [
    ZoneRange(address: [10, 96, 0, 0], prefixBits: 16), ZoneRange(address: [10, 87, 0, 0], prefixBits: 16),
  ]
  let ports = [
    ZonePort(name: "http", transport: "tcp", port: 80), ZonePort(name: "", transport: "udp", port: 9),
  ]
  zone.set(
    ZoneKey(namespace: "default", name: "web"),
    ZoneService(kind: .virtual([[10, 96, 0, 5], [0xfd, 0x96] + Array(repeating: 0, count: 13) + [5]]), ports: ports))
  zone.set(ZoneKey(namespace: "default", name: "db"), ZoneService(kind: .headless, ports: ports))
  zone.set(
    slice: "db-a", of: ZoneKey(namespace: "default", name: "db"),
    ZoneSlice(
      endpoints: [
        .init(address: [10, 87, 0, 2], hostname: "db-0"), .init(address: [10, 87, 0, 3], hostname: "db-1"),
        .init(address: [10, 87, 0, 4], hostname: nil),
      ], ports: [ZonePort(name: "http", transport: "tcp", port: 8080)]))
  zone.set(
    slice: "db-b", of: ZoneKey(namespace: "default", name: "db"),
    ZoneSlice(
      endpoints: [.init(address: [0xfd, 0x87] + Array(repeating: 0, count: 13) + [2], hostname: "db-0")],
      ports: [ZonePort(name: "http", transport: "tcp", port: 8080)]))
  zone.set(ZoneKey(namespace: "default", name: "empty"), ZoneService(kind: .headless, ports: ports))
  zone.set(ZoneKey(namespace: "other", name: "out"), ZoneService(kind: .external(name("example.org")), ports: []))
  return zone
}

/// An answer as lines that one can read.
private func lines(_ answer: ZoneAnswer) -> [String] {
  func text(_ record: DNSRecord) -> String {
    switch record.data {
    case .address(let bytes): bytes.map(String.init).joined(separator: ".")
    case .name(let target): target.text
    case .service(let priority, let weight, let port, let target): "\(priority) \(weight) \(port) \(target)"
    case .text(let texts): texts.map { String(decoding: $0, as: UTF8.self) }.joined()
    case .authority(let primary, _, _, _): primary.text
    default: "?"
    }
  }
  switch answer {
  case .elsewhere: return ["elsewhere"]
  case .nameError: return ["no such name"]
  case .alias(_, let target): return ["alias \(target)"]
  case .records(let records, let additional): return records.map(text) + additional.map { "+ \($0.name) \(text($0))" }
  }
}

@Suite struct ZoneTests {
  @Test(arguments: [
    ("web.default.svc.cluster.local", DNSType.a, ["10.96.0.5"]),
    ("WEB.default.SVC.cluster.local", .a, ["10.96.0.5"]),
    ("web.default.svc.cluster.local", .aaaa, ["253.150.0.0.0.0.0.0.0.0.0.0.0.0.0.5"]),
    ("web.default.svc.cluster.local", .txt, []),
    ("web.other.svc.cluster.local", .a, ["no such name"]),
    ("nothing.default.svc.cluster.local", .a, ["no such name"]),
    ("default.svc.cluster.local", .a, []),
    ("nowhere.svc.cluster.local", .a, ["no such name"]),
    ("svc.cluster.local", .a, []),
    (
      "_http._tcp.web.default.svc.cluster.local", .srv,
      [
        "0 100 80 web.default.svc.cluster.local.", "+ web.default.svc.cluster.local. 10.96.0.5",
        "+ web.default.svc.cluster.local. 253.150.0.0.0.0.0.0.0.0.0.0.0.0.0.5",
      ]
    ),
    ("_http._udp.web.default.svc.cluster.local", .srv, ["no such name"]),
    ("_http._tcp.web.default.svc.cluster.local", .a, []),
    ("_tcp.web.default.svc.cluster.local", .a, []),
    ("_udp.web.default.svc.cluster.local", .a, ["no such name"]),
    ("db.default.svc.cluster.local", .a, ["10.87.0.2", "10.87.0.3", "10.87.0.4"]),
    ("db-1.db.default.svc.cluster.local", .a, ["10.87.0.3"]),
    ("db-0.db.default.svc.cluster.local", .aaaa, ["253.135.0.0.0.0.0.0.0.0.0.0.0.0.0.2"]),
    ("db-1.db.default.svc.cluster.local", .aaaa, []),
    ("db-7.db.default.svc.cluster.local", .a, ["no such name"]),
    ("10-87-0-4.db.default.svc.cluster.local", .a, ["10.87.0.4"]),
    ("empty.default.svc.cluster.local", .a, ["no such name"]),
    ("out.other.svc.cluster.local", .a, ["alias example.org."]),
    ("out.other.svc.cluster.local", .cname, ["example.org."]),
    ("10-1-2-3.default.pod.cluster.local", .a, ["10.1.2.3"]),
    ("10-1-2-3.default.pod.cluster.local", .aaaa, []),
    ("fd87--2.default.pod.cluster.local", .aaaa, ["253.135.0.0.0.0.0.0.0.0.0.0.0.0.0.2"]),
    ("10-1-2-300.default.pod.cluster.local", .a, ["no such name"]),
    ("5.0.96.10.in-addr.arpa", .ptr, ["web.default.svc.cluster.local."]),
    ("2.0.87.10.in-addr.arpa", .ptr, ["db-0.db.default.svc.cluster.local."]),
    ("9.9.96.10.in-addr.arpa", .ptr, ["no such name"]),
    ("1.1.168.192.in-addr.arpa", .ptr, ["elsewhere"]),
    ("dns-version.cluster.local", .txt, ["1.1.0"]),
    ("cluster.local", .soa, ["ns.dns.cluster.local."]),
    ("ns.dns.cluster.local", .a, ["10.96.0.10"]),
    ("cluster.local", .a, []),
    ("web.cluster.local", .a, ["no such name"]),
    ("example.org", .a, ["elsewhere"]),
    ("notcluster.local", .a, ["elsewhere"]),
  ])
  func aNameHasWhatTheSpecificationSays(_ text: String, _ type: DNSType, _ expected: [String]) {
    #expect(lines(cluster().answer(DNSQuestion(name(text), type))) == expected)
  }

  @Test func aHeadlessServiceNamesEachEndpointOnceForAPort() {
    let answer = lines(cluster().answer(DNSQuestion(name("_http._tcp.db.default.svc.cluster.local"), .srv)))
    #expect(
      answer.filter { !$0.hasPrefix("+") } == [
        "0 33 8080 db-0.db.default.svc.cluster.local.", "0 33 8080 db-1.db.default.svc.cluster.local.",
        "0 33 8080 10-87-0-4.db.default.svc.cluster.local.",
      ])
    #expect(answer.count == 7)
  }

  @Test func manyAddressesBeginAtAnotherOneEachTime() {
    let question = DNSQuestion(name("db.default.svc.cluster.local"), .a)
    let firsts = Set((0..<3).compactMap { lines(cluster().answer(question, turn: $0)).first })
    #expect(firsts.count == 3)
  }

  @Test func whatGoesLeavesNothing() {
    var zone = cluster()
    zone.set(ZoneKey(namespace: "default", name: "web"), nil)
    #expect(lines(zone.answer(DNSQuestion(name("5.0.96.10.in-addr.arpa"), .ptr))) == ["no such name"])
    #expect(lines(zone.answer(DNSQuestion(name("web.default.svc.cluster.local"), .a))) == ["no such name"])
    zone.set(slice: "db-a", of: ZoneKey(namespace: "default", name: "db"), nil)
    #expect(lines(zone.answer(DNSQuestion(name("3.0.87.10.in-addr.arpa"), .ptr))) == ["no such name"])
    zone.set(ZoneKey(namespace: "other", name: "out"), nil)
    #expect(lines(zone.answer(DNSQuestion(name("other.svc.cluster.local"), .a))) == ["no such name"])
  }

  @Test func anAddressBecomesItsReverseNameAndBack() {
    for address: [UInt8] in [[10, 0, 0, 1], [0xfd, 0x96] + Array(1...14)] {
      #expect(DNSAddress.parse(reverse: name(DNSAddress.reverse(address)).words) == address)
      #expect(DNSAddress.parse(dashed: DNSAddress.dashed(address)) == address)
    }
    #expect(DNSAddress.parse(dashed: "--1") == Array(repeating: 0, count: 15) + [1])
    #expect(DNSAddress.parse(dashed: "fd00--") == [0xfd] + Array(repeating: 0, count: 15))
    #expect(DNSAddress.parse(dashed: "a--b--c") == nil)
    #expect(DNSAddress.parse(dashed: "db-1") == nil)
  }
}
