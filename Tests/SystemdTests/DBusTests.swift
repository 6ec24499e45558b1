import Kernel
import TestSupport
import Testing

@testable import Systemd

/// Messages as they go over the wire.
@Suite struct DBusTests {
  private static let parts = SystemdScopes.Parts(
    slice: "kubepods-burstable-pod12_34.slice", scope: "cri-martlet-00ff.scope", podID: "00ff")

  private static func call(_ member: String, _ body: [DBusValue]) -> DBusMessage {
    var message = DBusMessage(.call, serial: 4)
    message.destination = "org.freedesktop.systemd1"
    message.path = "/org/freedesktop/systemd1"
    message.interface = "org.freedesktop.systemd1.Manager"
    message.member = member
    message.body = body
    return message
  }

  /// Sixteen bytes a line, as hexdump has them.
  private static func dump(_ bytes: [UInt8]) -> String {
    stride(from: 0, to: bytes.count, by: 16).map { start in
      let line = bytes[start..<min(start + 16, bytes.count)]
      let hex = line.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined(separator: " ")
      let text = line.map { (0x20..<0x7f).contains($0) ? String(UnicodeScalar($0)) : "." }.joined()
      return hex + String(repeating: " ", count: 49 - hex.utf8.count) + text + "\n"
    }.joined()
  }

  @Test func `What starts and stops a scope, byte by byte`() throws {
    let start = Self.call("StartTransientUnit", SystemdScopes.start(Self.parts, process: 4711))
    let stop = Self.call("StopUnit", SystemdScopes.stop(Self.parts.scope))
    #expect(start.body.map(\.signature).joined() == "ssa(sv)a(sa(sv))")
    try Golden.check("\(Self.dump(start.encoded))\n\(Self.dump(stop.encoded))", named: "messages.txt")
  }

  @Test func `Every message comes back as it was`() throws {
    var signal = DBusMessage(.signal, serial: 9)
    (signal.path, signal.interface, signal.member, signal.sender) = ("/a", "b.c", "JobRemoved", ":1.2")
    signal.body = [.uint32(7), .objectPath("/job/7"), .string("x.scope"), .string("done")]
    var error = DBusMessage(.error, serial: 3)
    (error.errorName, error.replySerial, error.body) = ("a.b.No", 2, [.string("no")])
    let values: [DBusValue] = [
      .bool(true), .array(of: "t", []), .array(of: "(sv)", []), .string(""),
      .variant(.structure([.uint64(.max), .variant(.array(of: "as", [.array(of: "s", [.string("ä")])]))])),
    ]
    for message in [signal, error, Self.call("X", values), Self.call("Y", [])] {
      let bytes = message.encoded
      #expect(try DBusMessage.length(bytes) == bytes.count)
      #expect(try DBusMessage(bytes) == message)
    }
  }

  /// Whoever has the bus's place may say anything; it may only ever be refused.
  @Test(arguments: [UInt64(1), 2, 3, 4]) func `Damaged messages are refused and trap nothing`(seed: UInt64) throws {
    var state = seed &* 0x9e37_79b9_7f4a_7c15
    func draw(_ count: Int) -> Int {
      state ^= state << 13
      state ^= state >> 7
      state ^= state << 17
      return Int(state % UInt64(count))
    }
    let whole = Self.call("StartTransientUnit", SystemdScopes.start(Self.parts, process: 1)).encoded
    for _ in 0..<5000 {
      var bytes = Array(whole.prefix(draw(4) == 0 ? draw(whole.count + 1) : whole.count))
      for _ in 0...draw(4) where !bytes.isEmpty { bytes[draw(bytes.count)] = UInt8(draw(256)) }
      guard let length = (try? DBusMessage.length(bytes)).flatMap({ $0 }), length <= bytes.count else { continue }
      _ = try? DBusMessage(Array(bytes[..<length]))
    }
  }

  @Test(arguments: [
    ("system.slice", "/system.slice"), ("-.slice", ""), ("kubepods.slice", "/kubepods.slice"),
    (
      "kubepods-burstable-pod1_2.slice",
      "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice"
    ),
  ])
  func `A slice lies in those that its name says`(slice: String, directory: String) throws {
    #expect(try SystemdScopes.directory(of: slice) == directory)
    let path = try SystemdScopes.path(slice: slice, podID: "00ff")
    #expect(path == "\(directory)/cri-martlet-00ff.scope/00ff")
    #expect(
      try SystemdScopes.parts(path)
        == SystemdScopes.Parts(slice: slice, scope: "cri-martlet-00ff.scope", podID: "00ff"))
  }

  @Test(arguments: [
    "", "martlet", "/kubepods/pod1", ".slice", "a/b.slice", "a--b.slice", "-a.slice", "a-.slice", "a-...slice",
    "../x.slice", "ä.slice", "a b.slice", String(repeating: "x", count: 300) + ".slice",
  ])
  func `What is no slice's name is refused`(name: String) {
    let error = #expect(throws: SystemdError.self) { try SystemdScopes.path(slice: name, podID: "00ff") }
    #expect(error?.description.contains("a parent is the name of a slice") == true)
  }
}
