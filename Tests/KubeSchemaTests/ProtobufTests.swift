import JSON
import KubeSchema
import Testing

private let schema = Schema.kubernetes

private func hex(_ text: String) -> [UInt8] {
  let digits = text.filter { !$0.isWhitespace }
  return stride(from: 0, to: digits.count, by: 2).compactMap { index in
    let start = digits.index(digits.startIndex, offsetBy: index)
    return UInt8(digits[start..<digits.index(start, offsetBy: 2)], radix: 16)
  }
}

/// An envelope around a message, lengths below 128.
private func envelope(_ apiVersion: String, _ kind: String, _ raw: [UInt8]) -> [UInt8] {
  func field(_ number: UInt8, _ bytes: [UInt8]) -> [UInt8] { [number << 3 | 2, UInt8(bytes.count)] + bytes }
  let meta = field(1, Array(apiVersion.utf8)) + field(2, Array(kind.utf8))
  return Array("k8s\0".utf8) + field(1, meta) + field(2, raw) + [0x1A, 0, 0x22, 0]
}

private func problem(_ bytes: [UInt8]) -> String {
  do {
    return "none: \(try KubeProtobuf.decode(bytes).encodedString())"
  } catch {
    return error.problem
  }
}

@Suite struct ProtobufTests {
  /// Bytes put together by hand from the wire format and the field numbers.
  @Test(arguments: [
    // metadata (1) name (1); data (2) as entries; immutable (4).
    (
      #"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"},"data":{"a":"1","b":""},"immutable":false}"#,
      "0a03 0a0163 1206 0a0161 120131 1205 0a0162 1200 2000"
    ),
    // gracePeriodSeconds (1) of zero is a value.
    (#"{"apiVersion":"v1","kind":"DeleteOptions","gracePeriodSeconds":0}"#, "0800"),
    // spec (2) ports (1): port (3), targetPort (4) as text and as a number, nodePort (5); sessionAffinity (7).
    (
      #"{"apiVersion":"v1","kind":"Service","spec":{"ports":[{"port":80,"targetPort":"web"},{"port":1,"targetPort":8}]}}"#,
      "121b 0a0d 1850 2209 08011000 1a03776562 0a0a 1801 2206 08001008 1a00 "
    ),
    // spec (2) holder (1), seconds (2), renewTime (4) with microseconds.
    (
      #"{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","spec":{"holderIdentity":"","leaseDurationSeconds":-1,"renewTime":"1970-01-01T00:00:01.000002Z"}}"#,
      "1214 0a00 10ffffffffffffffffff01 2205 0801 10d00f"
    ),
    // data (2) is bytes; type (3).
    (
      #"{"apiVersion":"v1","kind":"Secret","data":{"k":"AP8="},"type":"Opaque"}"#,
      "1207 0a016b 120200ff 1a064f7061717565"
    ),
    // A volume's source lies in a message of its own (2).
    (
      #"{"apiVersion":"v1","kind":"Pod","spec":{"volumes":[{"name":"v","hostPath":{"path":"/"}}]}}"#,
      "120c 0a0a 0a0176 1205 0a03 0a012f"
    ),
    // Quantities are messages of text.
    (
      #"{"apiVersion":"v1","kind":"Node","status":{"capacity":{"cpu":"2"}}}"#, "1a0c 0a0a 0a03637075 1203 0a0132"
    ),
  ])
  func bytesAreThoseOfTheWireFormat(_ text: String, _ raw: String) throws {
    let value = try JSONValue.parse(text)
    let type = try #require(schema.type(of: value))
    let apiVersion = try #require(value["apiVersion"]?.string)
    let bytes = envelope(apiVersion, type.shortName, hex(raw))
    #expect(try KubeProtobuf.encode(value, as: type) == bytes)
    #expect(try KubeProtobuf.decode(bytes) == value)
  }

  @Test func objectsGoBothWays() throws {
    let kinds = schema.types.values.filter {
      $0.isKind && $0.shortName != "WatchEvent" && !$0.name.hasPrefix("io.k8s.apiextensions")
    }.sorted { $0.name < $1.name }
    for seed in 0..<60 {
      var maker = ObjectMaker(seed: seed)
      for kind in kinds {
        let object = JSONValue.object(maker.object(kind, depth: 6))
        let bytes = try KubeProtobuf.encode(object, as: kind)
        #expect(try KubeProtobuf.decode(bytes) == object, "seed \(seed): \(object.encodedString())")
      }
    }
  }

  @Test func zerosThatSayNothingAreLeftOut() throws {
    // restartPolicy "", hostNetwork false and terminationGracePeriodSeconds 0, as clients in Go write all of them.
    let bytes = envelope("v1", "Pod", hex("0a00 1206 1a00 2000 5800"))
    #expect(
      try KubeProtobuf.decode(bytes) == [
        "apiVersion": "v1", "kind": "Pod", "metadata": [:], "spec": ["terminationGracePeriodSeconds": 0],
      ])
  }

  @Test func aTimeThatWasNeverSetIsAbsent() throws {
    let bytes = envelope("v1", "Pod", hex("0a02 4200"))
    #expect(try KubeProtobuf.decode(bytes) == ["apiVersion": "v1", "kind": "Pod", "metadata": [:]])
  }

  @Test func unknownFieldsAreSkippedAndRepeatedMessagesMerge() throws {
    let bytes = envelope("v1", "Pod", hex("0a03 0a0161 f83f05 fa3f0161 fd3f00000000 f93f0000000000000000 0a03 1a0162"))
    #expect(
      try KubeProtobuf.decode(bytes) == [
        "apiVersion": "v1", "kind": "Pod", "metadata": ["name": "a", "namespace": "b"],
      ])
  }

  @Test func anEmptyListHasItems() throws {
    #expect(try KubeProtobuf.decode(envelope("v1", "PodList", []))["items"] == [])
  }

  @Test func jsonMayStandInTheEnvelope() throws {
    let json = Array(#"{"a":1}"#.utf8)
    let bytes = Array("k8s\0".utf8) + [0x12, UInt8(json.count)] + json + [0x22, 16] + Array("application/json".utf8)
    #expect(try KubeProtobuf.decode(bytes) == ["a": 1])
  }

  @Test func watchEventsAreFramed() throws {
    let pod: JSONValue = ["apiVersion": "v1", "kind": "Pod", "metadata": ["name": "a"]]
    let type = try #require(schema.type(apiVersion: "v1", kind: "Pod"))
    let frame = try KubeProtobuf.watchFrame(event: "ADDED", object: pod, as: type)
    #expect(frame.count < 256)
    #expect(Array(frame[..<4]) == [0, 0, 0, UInt8(frame.count - 4)])
    let event = try KubeProtobuf.decodeWatchEvent(Array(frame[4...]))
    #expect(event.event == "ADDED")
    #expect(event.object == pod)
  }

  @Test(arguments: [
    ("", "no Kubernetes protobuf: it does not begin with k8s and a zero"),
    ("7b7d", "no Kubernetes protobuf: it does not begin with k8s and a zero"),
    ("6b387300", "no kind \"\" is registered for version \"\""),
    ("6b387300 0aff", "a number without an end"), ("6b387300 0a05 00", "a field longer than its message"),
    ("6b387300 0a 00", "no kind \"\" is registered for version \"\""),
    ("6b387300 1a0167", "content encoding g, which is not supported"),
    ("6b387300 220178", "content type x, which is not supported"),
    ("6b387300 0affffffffffffffffff01", "a field longer than its message"),
    ("6b387300 0affffffffffffffffff02", "a number of more than 64 bits"),
    ("6b387300 0b", "wire type 3, which is not used"), ("6b387300 02", "field number 0"),
    ("6b387300 08", "a number where bytes are meant"),
  ])
  func refusesEnvelopes(_ bytes: String, _ message: String) { #expect(problem(hex(bytes)) == message) }

  @Test(arguments: [
    ("0a03 0a01ff", "text is not UTF-8"), ("0801", "a number where bytes are meant"),
    ("1202 5a00", "bytes where a number is meant"), ("0a04 4202 0aff", "bytes where a number is meant"),
    ("0a0d 420b 08ffffffffffffffff7f", "a field longer than its message"),
    ("0a0c 420a 08ffffffffffffffff7f", "a time outside of the years 0 to 9999"),
  ])
  func refusesMessages(_ raw: String, _ message: String) {
    #expect(problem(envelope("v1", "Pod", hex(raw))) == message)
  }

  @Test func depthIsBounded() throws {
    // A watch event within a watch event, and so on.
    var event: [UInt8] = []
    for _ in 0..<100 {
      var encoded = Array("k8s\0".utf8) + hex("0a10 0a027631 120a") + Array("WatchEvent".utf8)
      var raw = event
      if !event.isEmpty { raw = wrapped(2, wrapped(1, event)) }
      encoded += wrapped(2, raw)
      event = encoded
    }
    #expect(problem(event) == "nested deeper than 64")
  }

  private func wrapped(_ number: UInt8, _ bytes: [UInt8]) -> [UInt8] {
    var length: [UInt8] = []
    var rest = bytes.count
    repeat {
      length.append(UInt8(rest & 0x7F) | (rest >= 0x80 ? 0x80 : 0))
      rest >>= 7
    } while rest > 0
    return [number << 3 | 2] + length + bytes
  }

  /// Truncated, changed and made-up bytes are read or refused; nothing else happens.
  @Test func noBytesBreakTheReader() throws {
    let type = try #require(schema.type(apiVersion: "v1", kind: "Pod"))
    var refused = 0
    for seed in 0..<400 {
      var maker = ObjectMaker(seed: seed)
      var bytes = try KubeProtobuf.encode(.object(maker.object(type, depth: 5)), as: type)
      switch maker.random.below(3) {
      case 0: bytes.removeLast(maker.random.below(bytes.count))
      case 1:
        for _ in 0...maker.random.below(8) { bytes[maker.random.below(bytes.count)] = UInt8(maker.random.below(256)) }
      default:
        bytes = Array(bytes.prefix(20)) + (0..<200).map { _ in UInt8(maker.random.below(256)) }
      }
      if problem(bytes).hasPrefix("none") == false { refused += 1 }
    }
    #expect(refused > 100)
  }

  @Test(arguments: [
    (#"{"spec":7}"#, "spec: expected an object, found number"),
    (#"{"spec":{"hostNetwork":"yes"}}"#, "spec.hostNetwork: expected true or false, found string"),
    (#"{"metadata":{"creationTimestamp":"soon"}}"#, "metadata.creationTimestamp: expected a time, found string"),
    (#"{"spec":{"priority":99999999999}}"#, "spec.priority: expected a whole number of 32 bits, found number"),
    (#"{"spec":{"novel":1}}"#, "spec: novel: PodSpec has no such field"), ("[]", "expected an object, found array"),
  ])
  func refusesToWriteWhatIsNoObjectOfItsType(_ text: String, _ message: String) throws {
    let type = try #require(schema.type(apiVersion: "v1", kind: "Pod"))
    let value = try JSONValue.parse(text)
    do {
      _ = try KubeProtobuf.encode(value, as: type)
      Issue.record("was written")
    } catch {
      #expect(error.problem == message)
    }
  }
}
