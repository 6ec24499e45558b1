import NFT
import Testing

@Suite struct LoweringTests {
  @Test func familyIsCheckedOnceBeforeItsHeaderIsRead() {
    let rule = Rule(
      .matchSet([.sourceAddress(.ipv4), .destinationAddress(.ipv4)], set: "pairs", contained: true),
      .match(.sourceAddress(.ipv4), equal: false, .address([10, 0, 0, 1])), .masquerade)
    #expect(
      rule.instructions == [
        .loadMeta(key: 15, into: 1), .compare(1, equal: true, [2]),
        .loadPayload(base: 1, offset: 12, length: 4, into: 1), .loadPayload(base: 1, offset: 16, length: 4, into: 9),
        .lookup(1, set: "pairs", into: nil, inverted: false),
        .loadPayload(base: 1, offset: 12, length: 4, into: 1), .compare(1, equal: false, [10, 0, 0, 1]), .masquerade,
      ])
  }

  @Test func keyPartsLieBehindEachOtherInTheRegisters() {
    let rule = Rule(
      .translateDestination(
        .ipv6, key: [.destinationAddress(.ipv6), .transport, .destinationPort, .priority], map: "endpoints6"))
    #expect(
      rule.instructions == [
        .loadMeta(key: 15, into: 1), .compare(1, equal: true, [10]),
        .loadPayload(base: 1, offset: 24, length: 16, into: 1), .loadMeta(key: 16, into: 2),
        .loadPayload(base: 2, offset: 2, length: 2, into: 13), .loadMeta(key: 2, into: 14),
        .lookup(1, set: "endpoints6", into: 1, inverted: false),
        .translateDestination(family: 10, address: 1, port: 2),
      ])
  }

  @Test func hashOfAPairOfIPv6AddressesFitsTheRegisters() {
    let rule = Rule(
      .setPriorityFrom(
        .hash([.sourceAddress(.ipv6), .destinationAddress(.ipv6)], modulus: 3, seed: 7, offset: 100)))
    #expect(
      rule.instructions == [
        .loadMeta(key: 15, into: 1), .compare(1, equal: true, [10]),
        .loadPayload(base: 1, offset: 8, length: 16, into: 2), .loadPayload(base: 1, offset: 24, length: 16, into: 3),
        .hash(2, length: 32, into: 1, modulus: 3, seed: 7, offset: 100), .storeMeta(key: 2, from: 1),
      ])
  }

  @Test(
    arguments: [
      (8, [255, 0, 0, 0]), (12, [255, 240, 0, 0]), (31, [255, 255, 255, 254]),
    ] as [(Int, [UInt8])])
  func prefixIsAMask(_ length: Int, _ mask: [UInt8]) {
    let rule = Rule(.match(.sourceAddress(.ipv4), equal: true, .prefix([10, 0, 0, 0], length: length)))
    #expect(rule.instructions.contains(.mask(1, into: 1, mask: mask)))
  }

  @Test func linkNamesMatchWholeOrByTheirBeginning() {
    #expect(
      Rule(.match(.inputLink, equal: true, .link("mlt*"))).instructions.last
        == .compare(1, equal: true, Array("mlt".utf8)))
    #expect(
      Rule(.match(.outputLink, equal: true, .link("eth0"))).instructions.last
        == .compare(1, equal: true, Array("eth0".utf8) + [UInt8](repeating: 0, count: 12)))
  }
}
