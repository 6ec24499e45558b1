import TestSupport
import Testing

@testable import DaemonConfiguration

@Suite struct DaemonSettingsTests {
  @Test func `The built-in settings are a file that reads back to themselves`() throws {
    try Golden.check(DaemonSettings().text, named: "default.toml")
    var read = DaemonSettings()
    try read.merge(DaemonSettings().text, from: "default.toml")
    #expect(read == DaemonSettings() && read.text == DaemonSettings().text)
    #expect(read.origins["network.mtu"] == "default.toml" && read.origins["root"] == "default.toml")
    // Every setting was read, not only those that somebody thought of.
    #expect(Set(read.origins.keys) == Set(read.entries.map(\.name) + ["version"]))
  }

  @Test func `A later file wins key by key, and each setting knows where it is from`() throws {
    var settings = DaemonSettings()
    try settings.merge(
      "version = 1\nrun = \"/run/a\"\n[network]\nmtu = 1400\nmode = \"cni\"\n[log]\nlevel = \"debug\"", from: "a.toml")
    try settings.merge("[network]\nmtu = 9000\npod-cidrs = []\n[metrics]\naddress = \"127.0.0.1:9100\"", from: "b.toml")
    #expect(
      settings.mtu == 9000 && settings.networkMode == .cni && settings.run == "/run/a" && settings.podBlocks == [])
    #expect(settings.socketPath == "/run/a/martlet.sock" && settings.logLevel == .debug)
    #expect(settings.metricsListener == .tcp(host: "127.0.0.1", port: 9100))
    #expect(settings.dump.contains("mtu = 9000  # b.toml\n") && settings.dump.contains("mode = \"cni\"  # a.toml\n"))
    #expect(settings.dump.contains("pool-size = 4  # built in\n"))
  }

  @Test func `The former name of the log's level still works`() throws {
    var settings = DaemonSettings()
    try settings.merge("log-level = \"warning\"", from: "a.toml")
    #expect(settings.logLevel == .warning && settings.origins["log.level"] == "a.toml")
  }

  @Test(arguments: [
    ("colour = 1", "colour: is not a key that martletd knows; see martletd config default"),
    ("[network]\ncolour = 1", "network.colour: is not a key that martletd knows; see martletd config default"),
    ("[colour]", "colour: is not a key that martletd knows; see martletd config default"),
    ("version = 2", "version 2 is not known; this daemon reads version 1"), ("version = 0", "version: must be"),
    ("version = \"1\"", "version: must be an integer"), ("a = \n", "line 1: a value is expected"),
    ("root = \"var\"", "root: must be an absolute path"), ("root = 1", "root: must be a string"),
    ("cgroup-parent = \"a\\u0000\"", "cgroup-parent: must be without control characters"),
    ("missing-controllers = \"maybe\"", "missing-controllers: \"error\" or \"warn\""),
    ("cgroup-driver = \"none\"", "cgroup-driver: \"cgroupfs\" or \"systemd\""),
    ("[log]\nlevel = \"loud\"", "log.level: \"trace\" or "),
    ("[log]\nformat = true", "log.format: \"text\" or \"json\""),
    ("log = 1", "log: must be a table"), ("[network]\nmtu = 1", "network.mtu: must be an integer from 576 to 65535"),
    ("[network]\nmtu = 1500.0", "network.mtu: must be an integer"),
    ("[network]\nmasquerade = 1", "network.masquerade: "),
    ("[network]\npod-cidrs = [1]", "network.pod-cidrs: must be a list of strings"),
    ("[network]\ncni-plugin-directories = [\"bin\"]", "network.cni-plugin-directories: absolute paths"),
    ("[metrics]\naddress = \"9100\"", "metrics.address: "), ("[metrics]\naddress = \"unix:\"", "metrics.address: "),
    ("[metrics]\naddress = \"a:70000\"", "metrics.address: "),
  ])
  func `A mistake is named with its file and key`(text: String, problem: String) {
    var settings = DaemonSettings()
    let error = #expect(throws: SettingsError.self) { try settings.merge(text, from: "x.toml") }
    #expect(error?.description.hasPrefix("x.toml: \(problem)") == true, "\(error?.description ?? "")")
  }

  @Test func `Texts with quotes and backslashes come back whole`() throws {
    var settings = DaemonSettings()
    settings.cgroupParent = "a\"b\\c é"
    var read = DaemonSettings()
    try read.merge(settings.text, from: "x")
    #expect(read.cgroupParent == settings.cgroupParent)
  }

  @Test func `A running daemon takes what it can and names the rest`() throws {
    var new = DaemonSettings()
    try new.merge(
      "root = \"/other\"\n[log]\nlevel = \"debug\"\nformat = \"json\"\n[images]\npulls-max = 3\nhosts-directory = \"/h\"",
      from: "x")
    let changes = DaemonSettings().changes(to: new)
    #expect(changes.taken == ["log.level", "log.format", "images.hosts-directory"])
    #expect(changes.needRestart == ["root", "images.pulls-max"])
    let now = DaemonSettings().reloaded(from: new)
    #expect(DaemonSettings().changes(to: now).taken == changes.taken && now.changes(to: new).taken.isEmpty)
    #expect(now.changes(to: new).needRestart == changes.needRestart)
  }

  @Test(arguments: [
    ("unix:/a/b", MetricsListener.unix(path: "/a/b")), ("unix:m.sock", .unix(path: "/run/x/m.sock")),
    ("[::1]:9", .tcp(host: "::1", port: 9)), ("127.0.0.1:0", .tcp(host: "127.0.0.1", port: 0)), ("", nil), (":80", nil),
  ])
  func `Addresses of metrics have two forms`(text: String, listener: MetricsListener?) {
    #expect(MetricsListener(text, run: "/run/x") == listener)
  }
}
