import DNSMessage
import Testing

private func name(_ text: String) -> DNSName { DNSName(text) ?? .root }

/// The bytes of a message with one question, and what follows it.
private func message(_ counts: [UInt8], _ body: [UInt8]) -> [UInt8] {
  [0x12, 0x34, 0x01, 0x00] + counts.flatMap { [0, $0] } + body
}

@Suite struct MessageTests {
  @Test func everyKindOfRecordComesBackAsItWas() throws {
    var message = DNSMessage(asking: DNSQuestion(name("web.default.svc.cluster.local"), .a), id: 7)
    (message.isResponse, message.isAuthoritative, message.offersRecursion) = (true, true, true)
    let host = name("a.b.example")
    message.answers = [
      DNSRecord(host, .a, ttl: 1, .address([1, 2, 3, 4])),
      DNSRecord(host, .aaaa, ttl: 2, .address(Array(1...16))),
      DNSRecord(host, .cname, ttl: 3, .name(name("c.b.example"))),
      DNSRecord(host, .srv, ttl: 4, .service(priority: 1, weight: 2, port: 3, target: name("d.example"))),
      DNSRecord(host, .mx, ttl: 5, .mail(preference: 10, host: name("mail.example"))),
      DNSRecord(host, .txt, ttl: 6, .text([Array("x".utf8), []])),
      DNSRecord(host, DNSType(rawValue: 999), ttl: 7, .raw([9, 8, 7])),
    ]
    message.authority = [
      DNSRecord(
        name("example"), .soa, ttl: 8,
        .authority(primary: host, mailbox: name("m.example"), serial: 5, times: [1, 2, 3, 4]))
    ]
    message.additional = [DNSRecord(.root, .ns, ttl: 9, .name(host))]
    message.extension_ = DNSExtension(udpBytes: 1232, wantsSignatures: true)
    message.code = .badVersion
    let bytes = message.encoded()
    #expect(try DNSMessage(parsing: bytes) == message)
  }

  @Test func aNameThatWasThereIsPointedAt() {
    var message = DNSMessage(asking: DNSQuestion(name("WEB.example"), .a), id: 1)
    let plain = message.encoded().count
    message.answers = [DNSRecord(name("web.EXAMPLE"), .a, ttl: 5, .address([1, 2, 3, 4]))]
    // Two bytes for the name, ten for the head, four for the address.
    #expect(message.encoded().count == plain + 16)
  }

  @Test func namesAreTheSameInAnyCaseAndKeepTheirSpelling() {
    #expect(name("Web.Default") == name("web.dEFAULT"))
    #expect(name("Web.Default").hashValue == name("web.dEFAULT").hashValue)
    #expect(DNSName("a..b") == nil)
    #expect(DNSName(String(repeating: "x", count: 64)) == nil)
    #expect(DNSName(Array(repeating: "abcdefg", count: 32).joined(separator: ".")) == nil)
    #expect(name("Web.").text == "web.")
  }

  @Test(arguments: [
    ("a pointer to itself", message([1, 0, 0, 0], [0xc0, 12, 0, 1, 0, 1])),
    ("a pointer forward", message([1, 0, 0, 0], [0xc0, 14, 1, 0x61, 0, 0, 1, 0, 1])),
    ("two that point at each other", message([1, 0, 0, 0], [1, 0x61, 0xc0, 12, 0, 1, 0, 1])),
    ("a label of an unknown kind", message([1, 0, 0, 0], [0x80, 1, 0, 0, 1, 0, 1])),
    ("a label that is cut", message([1, 0, 0, 0], [5, 0x61])),
    ("fewer records than it says", message([1, 9, 0, 0], [0, 0, 1, 0, 1])),
    ("an address of five bytes", message([0, 1, 0, 0], [0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 5, 1, 2, 3, 4, 5])),
    ("a text past its record", message([0, 1, 0, 0], [0, 0, 16, 0, 1, 0, 0, 0, 1, 0, 2, 9, 1])),
    ("a name longer than its record", message([0, 1, 0, 0], [0, 0, 5, 0, 1, 0, 0, 0, 1, 0, 1, 1, 0x61, 0])),
    (
      "two OPT records",
      message(
        [0, 0, 0, 2],
        Array([[0], [0, 41], [4, 0], [0, 0, 0, 0], [0, 0]].joined()) + [0, 0, 41, 4, 0, 0, 0, 0, 0, 0, 0])
    ),
    ("nothing", []),
    ("more records than a message holds", [0, 0, 0, 0] + Array(repeating: 0xff, count: 8)),
  ])
  func hostileBytesAreRefused(_ what: String, _ bytes: [UInt8]) {
    #expect(throws: DNSParseError.self, "\(what)") { try DNSMessage(parsing: bytes) }
  }

  @Test func aNameMayNotGrowByPointersWithoutEnd() {
    // Each piece adds 63 bytes and points to the one before.
    var body: [UInt8] = [63] + Array(repeating: 0x61, count: 63) + [0]
    var last = 12
    for _ in 0..<5 {
      let here = 12 + body.count
      body += [63] + Array(repeating: 0x61, count: 63) + [0xc0 | UInt8(last >> 8), UInt8(last & 0xff)]
      last = here
    }
    #expect(throws: DNSParseError.self) { try DNSMessage(parsing: message([6, 0, 0, 0], body)) }
  }

  @Test(arguments: 0..<40) func anyBytesAtAllEitherParseOrAreRefused(_ seed: UInt64) {
    var state = seed &* 0x9e37_79b9_7f4a_7c15 | 1
    func next() -> UInt8 {
      state ^= state << 13
      state ^= state >> 7
      state ^= state << 17
      return UInt8(truncatingIfNeeded: state >> 24)
    }
    var good = DNSMessage(asking: DNSQuestion(name("web.default.svc.cluster.local"), .srv), id: 1)
    good.answers = (0..<8).map {
      DNSRecord(
        name("p\($0).default.svc.cluster.local"), .srv, ttl: 5,
        .service(priority: 0, weight: 1, port: 80, target: name("t\($0).cluster.local")))
    }
    let base = good.encoded()
    for _ in 0..<500 {
      var bytes = base
      for _ in 0..<(1 + next() % 8) { bytes[Int(UInt16(next()) << 8 | UInt16(next())) % bytes.count] = next() }
      bytes.removeLast(Int(next()) % bytes.count / 4)
      guard let read = try? DNSMessage(parsing: bytes) else { continue }
      // What was read can be written, and is read again as the same.
      #expect((try? DNSMessage(parsing: read.encoded())) != nil)
    }
  }

  @Test func whatDoesNotFitIsLeftOutAndSaid() throws {
    var message = DNSMessage(asking: DNSQuestion(name("web.default.svc.cluster.local"), .a), id: 1)
    message.isResponse = true
    message.answers = (0..<100).map {
      DNSRecord(name("web.default.svc.cluster.local"), .a, ttl: 5, .address([10, 0, 0, $0]))
    }
    message.extension_ = DNSExtension(udpBytes: 1232)
    let bytes = message.encoded(bytesMax: 512)
    #expect(bytes.count <= 512)
    let read = try DNSMessage(parsing: bytes)
    #expect(read.isTruncated)
    #expect(read.answers.count == 28)
    #expect(read.extension_ != nil)
    #expect(try DNSMessage(parsing: message.encoded()).isTruncated == false)
  }

  @Test func additionalRecordsThatDoNotFitAreNoTruncation() throws {
    var message = DNSMessage(asking: DNSQuestion(name("a.example"), .srv), id: 1)
    message.additional = (0..<100).map { DNSRecord(name("t\($0).example"), .a, ttl: 5, .address([10, 0, 0, $0])) }
    let read = try DNSMessage(parsing: message.encoded(bytesMax: 512))
    #expect(!read.isTruncated)
    #expect(read.additional.count > 10)
  }
}
