import DaemonConfiguration
import Kernel
import TestSupport
import Testing

/// Files that packages install, judged by the programs that read them.
@Suite struct DistributionTests {
  static let root = Files.parent(of: Files.parent(of: Files.parent(of: #filePath)))

  /// Exit code, and what was said on standard error and output.
  private static func run(_ words: String...) async throws -> (code: Int32, errors: String, output: String) {
    let outcome = try await ChildProcess.run(
      "/usr/bin/env", arguments: ["env"] + words,
      environment: ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "MANROFFSEQ="])
    return (
      outcome.status.code, String(decoding: outcome.errorOutput, as: UTF8.self),
      String(decoding: outcome.output, as: UTF8.self)
    )
  }

  private static func text(_ path: String) throws -> String { try Files.readText("\(root)/\(path)") ?? "" }

  @Test(arguments: ["martletd.service", "martlet-node.service"])
  func `systemd takes each unit`(name: String) async throws {
    let directory = try TestDirectory()
    defer { try? directory.remove() }
    for unit in ["martletd.service", "martlet-node.service"] {
      // The programs are not installed where tests run.
      let text = try Self.text("dist/systemd/\(unit)").replacing("/usr/bin/martletd", with: "/bin/true")
        .replacing("/usr/bin/martlet", with: "/bin/true")
      try Files.writeAtomically("\(directory.path)/\(unit)", Array(text.utf8), mode: 0o644)
    }
    let verdict = try await Self.run("systemd-analyze", "verify", "--man=no", "\(directory.path)/\(name)")
    #expect(verdict.code == 0 && verdict.errors == "", "\(verdict.errors)")
    try Files.writeAtomically(
      "\(directory.path)/bad.service", Array("[Service]\nExecStart=/bin/true\nKillMod=process\n".utf8), mode: 0o644)
    #expect(try await Self.run("systemd-analyze", "verify", "--man=no", "\(directory.path)/bad.service").errors != "")
  }

  @Test func `The daemon's unit leaves pods alone when it ends`() throws {
    let lines = try Self.text("dist/systemd/martletd.service").split(separator: "\n")
    for line in ["Type=notify", "KillMode=process", "Delegate=yes", "Restart=always", "OOMScoreAdjust=-999"] {
      #expect(lines.contains(Substring(line)))
    }
    // It would be emptied when the service stops.
    #expect(!lines.contains { $0.hasPrefix("RuntimeDirectory=") })
  }

  @Test func `Directories and users are made as they are declared`() async throws {
    let directory = try TestDirectory()
    defer { try? directory.remove() }
    try Files.makeDirectories("\(directory.path)/etc", mode: 0o755)
    for name in ["passwd", "group"] {
      try Files.writeAtomically("\(directory.path)/etc/\(name)", try Files.read("/etc/\(name)"), mode: 0o644)
    }
    let made = try await Self.run(
      "systemd-tmpfiles", "--create", "--root=\(directory.path)", "\(Self.root)/dist/tmpfiles.d/martlet.conf")
    #expect(made.code == 0 && made.errors == "", "\(made.errors)")
    #expect(try Files.status("\(directory.path)/run/martlet")?.mode == 0o700)
    #expect(try Files.status("\(directory.path)/etc/martlet/manifests")?.mode == 0o700)
    let settings = DaemonSettings()
    for path in [settings.root, settings.run, settings.hostsDirectory, settings.cniConfigurationDirectory] {
      #expect(Files.exists(directory.path + path), "\(path) is not made")
    }
    let users = try await Self.run(
      "systemd-sysusers", "--dry-run", "--root=\(directory.path)", "\(Self.root)/dist/sysusers.d/martlet.conf")
    #expect(users.code == 0 && (users.errors + users.output).contains("Creating user 'martlet'"), "\(users.errors)")
  }

  @Test func `crictl's configuration names the daemon's socket`() throws {
    let text = try Self.text("dist/crictl.yaml")
    #expect(text.contains("runtime-endpoint: unix://\(DaemonSettings().socketPath)\n"))
    #expect(text.contains("image-endpoint: unix://\(DaemonSettings().socketPath)\n"))
  }

  @Test(arguments: ["martletd.8", "martletd.toml.5", "martlet.1"])
  func `A manual page is rendered without a warning`(name: String) async throws {
    let page = "\(Self.root)/docs/man/\(name)"
    let shown = try await Self.run("man", "--warnings", "-l", page)
    #expect(shown.code == 0 && shown.output.contains("NAME") && shown.errors == "", "\(shown.errors)")
    let strict = try await Self.run("groff", "-mdoc", "-ww", "-Tutf8", "-z", page)
    #expect(strict.errors == "")
    let broken = try await Self.run(
      "sh", "-c", "sed 's/^.Sh SEE ALSO/.Nosuch x/' '\(page)' | groff -mdoc -ww -Tutf8 -z")
    #expect(broken.errors != "")
  }

  @Test func `Every setting and nothing else is in its manual page`() throws {
    let page = try Self.text("docs/man/martletd.toml.5")
    let described = page.split(separator: "\n").filter { $0.hasPrefix(".It Ic ") }.map { String($0.dropFirst(7)) }
    #expect(described == ["version"] + DaemonSettings().entries.map(\.key))
    let sections = page.split(separator: "\n").filter { $0.hasPrefix(".Ss ") }.map { String($0.dropFirst(4)) }
    var wanted: [String] = []
    for entry in DaemonSettings().entries where !entry.section.isEmpty && wanted.last != "[\(entry.section)]" {
      wanted.append("[\(entry.section)]")
    }
    #expect(sections == wanted)
  }
}
