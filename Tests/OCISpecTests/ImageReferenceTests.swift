import OCISpec
import Testing

private let hex = String(repeating: "0123456789abcdef", count: 4)

@Suite struct ImageReferenceTests {
  @Test(arguments: [
    ("busybox", "docker.io/library/busybox:latest"), ("busybox:1.36", "docker.io/library/busybox:1.36"),
    ("team/app", "docker.io/team/app:latest"), ("docker.io/busybox", "docker.io/library/busybox:latest"),
    ("index.docker.io/team/app:v1", "docker.io/team/app:v1"), ("localhost/app", "localhost/app:latest"),
    ("localhost:5000/app", "localhost:5000/app:latest"), ("reg.test/a/b/c:T_1.2-x", "reg.test/a/b/c:T_1.2-x"),
    ("reg:5000/a:1", "reg:5000/a:1"), ("Reg/a", "Reg/a:latest"),
    ("127.0.0.1:5000/a@sha256:\(hex)", "127.0.0.1:5000/a@sha256:\(hex)"),
    ("a:1@sha256:\(hex)", "docker.io/library/a:1@sha256:\(hex)"), ("[::1]:5000/a", "[::1]:5000/a:latest"),
    ("e/a__b--c.d", "docker.io/e/a__b--c.d:latest"), ("foo.bar", "docker.io/library/foo.bar:latest"),
  ])
  func writesOutWhatANameLeavesOpen(_ text: String, _ canonical: String) throws {
    let reference = try ImageReference(text)
    #expect(reference.description == canonical)
    #expect(try ImageReference(canonical) == reference)
    #expect(try ImageReference(reference.familiar).description == canonical)
  }

  @Test func partsAreApart() throws {
    let both = try ImageReference("reg.test:5000/a/b:1@sha256:\(hex)")
    #expect(both.registry == "reg.test:5000" && both.repository == "a/b" && both.tag == "1" && both.digest?.hex == hex)
    #expect(both.target == "sha256:\(hex)" && both.tagged == nil && both.name == "reg.test:5000/a/b")
    let digest = try ImageReference("a@sha256:\(hex)")
    #expect(digest.tag == nil && digest.tagged == nil)
    #expect(try ImageReference("a:2").tagged?.description == "docker.io/library/a:2")
    #expect(
      try ImageReference("docker.io/library/a:2").familiar == "a:2"
        && ImageReference("docker.io/t/a").familiar == "t/a:latest")
  }

  @Test(arguments: [
    ("", "is empty"), (":1", "has no repository name"), ("App", "must be lower case"),
    ("reg.test/App", "must be lower case"),
    ("a:", "ends in a colon without a tag"), ("a:-x", "may only have letters"),
    ("a:\(String(repeating: "t", count: 129))", "its tag has 129 bytes"),
    ("a b", "lower-case letters and digits"), ("a//b", "an empty component"), ("a/", "an empty component"),
    ("/a", "an empty component"),
    ("a..b", "lower-case letters and digits"), ("a___b", "lower-case letters and digits"),
    ("-a", "lower-case letters and digits"),
    ("../etc/passwd", "not a host name"), ("a@sha256:12", "64 lowercase hexadecimal digits"),
    ("a@md5:\(hex)", "only sha256"),
    ("a@\(hex)", "has no algorithm"), ("a@sha256:\(hex.uppercased())", "64 lowercase hexadecimal digits"),
    (hex, "are an image id, not a name"), ("reg.test:0/a", "port"), ("reg.test:99999/a", "port"),
    ("reg.test:x/a", "port"),
    ("-reg.test/a", "not a host name"), ("[::1/a", "["), ("[zz!]:5000/a", "IPv6"), ("a\u{0}b", "lower-case letters"),
    (String(repeating: "a", count: 256), "256 bytes, at most 255"),
    (String(repeating: "a", count: 5000), "is longer than"),
    ("a:1:2", "lower-case letters and digits"), ("http://reg.test/a", "port"),
  ])
  func saysWhatIsWrongWithAName(_ text: String, _ says: String) {
    let error = #expect(throws: ImageSpecError.self) { try ImageReference(text) }
    #expect(error?.problem.contains(says) == true, "\(String(describing: error))")
    #expect(error?.description.utf8.allSatisfy { $0 >= 0x20 } == true && (error?.description.utf8.count ?? 0) < 500)
  }

  @Test func digestsAreReadStrictly() throws {
    #expect(try Digest("sha256:\(hex)").description == "sha256:\(hex)")
    #expect(Digest(sha256: [UInt8](repeating: 0xAB, count: 32)).hex == String(repeating: "ab", count: 32))
    for bad in [
      "", "sha256", "sha256:", "sha512:\(hex)\(hex)", "sha256:\(hex)0", "sha256:../\(hex.dropFirst(3))",
      "SHA256:\(hex)",
    ] {
      #expect(throws: ImageSpecError.self) { try Digest(bad) }
    }
  }

  /// USER of an image, as CVE-2024-40635 abused it.
  @Test(
    arguments: [
      ("", ImageUser.Principal.id(0), nil), ("0", .id(0), nil), ("1000:2000", .id(1000), .id(2000)),
      ("root", .name("root"), nil),
      ("www-data:adm", .name("www-data"), .name("adm")), ("2147483647", .id(2_147_483_647), nil),
      ("_apt:65534", .name("_apt"), .id(65534)),
    ] as [(String, ImageUser.Principal, ImageUser.Principal?)])
  func readsUsersByNumberAndName(_ text: String, _ user: ImageUser.Principal, _ group: ImageUser.Principal?) throws {
    let found = try ImageUser(text)
    #expect(found.user == user && found.group == group)
  }

  @Test(arguments: [
    "4294967296", "4294967295", "2147483648", "18446744073709551616", "+0", "-1", "0x0", "0:4294967296", "1e3", " 0",
    "0 ", "00000000000",
    "a:", ":1", ":", "a b", "a/b", "a\nb", "1000:+0", "root:0x0", String(repeating: "9", count: 5000),
    String(repeating: "a", count: 257), "٣",
  ])
  func refusesUsersThatCouldComeOutAsRoot(_ text: String) {
    #expect(throws: ImageSpecError.self) { try ImageUser(text) }
  }
}
