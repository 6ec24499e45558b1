import JSON
import Kernel
import TestSupport
import Testing

/// `martlet server` on its own, with what only its options turn on.
@Suite(.serialized) struct KubeAccessServerTests {
  /// A server in a network of its own that has nothing but loopback.
  private final class Server {
    let directory: TestDirectory
    private let network: LabNamespace
    private var process: ChildProcess
    private var isRunning = true

    var path: String { directory.path }

    init(_ options: [String], files: [String: String] = [:]) async throws {
      directory = try TestDirectory()
      for (name, text) in files { try Files.writeAtomically("\(directory.path)/\(name)", Array(text.utf8)) }
      network = try await LabNamespace.make(at: "\(directory.path)/net")
      process = try await Self.start(directory.path, options)
    }

    private static func start(_ path: String, _ options: [String]) async throws -> ChildProcess {
      try? Files.remove("\(path)/log")
      let log = try Files.open("\(path)/log", flags: OpenFlags.writeOnly | OpenFlags.create, mode: 0o600)
      let output = log.withRaw { $0 }
      let process = try ChildProcess.start(
        "/usr/bin/nsenter",
        arguments: [
          "nsenter", "--net=\(path)/net", try BuiltPrograms.path("martlet"), "server", "--root", "\(path)/root",
          "--run",
          "\(path)/run",
        ] + options.map { $0.replacing("DIR", with: path) },
        environment: ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=\(path)"], stdio: [nil, output, output])
      let deadline = ContinuousClock.now + .seconds(30)
      while ContinuousClock.now < deadline {
        if try (Files.readText("\(path)/log") ?? "").contains("The API is served") { return process }
        guard try process.poll() == nil else { break }
        try await Task.sleep(for: .milliseconds(20))
      }
      throw KubeNode.Failure(description: "martlet server: \((try? Files.readText("\(path)/log")) ?? nil ?? "")")
    }

    func restart(_ options: [String]) async throws {
      try end()
      process = try await Self.start(path, options)
      isRunning = true
    }

    func end() throws {
      guard isRunning else { return }
      isRunning = false
      try process.signal(15)
      _ = try process.wait()
    }

    func stop() async throws {
      try end()
      try network.remove()
      try directory.remove()
    }

    func run(_ script: String) async throws -> CLINode.Answer {
      let package = Files.parent(of: Files.parent(of: Files.parent(of: #filePath)))
      let clients = environmentVariable("MARTLET_CLIENTS") ?? "\(package)/.build/clients"
      let martlet = Files.parent(of: try BuiltPrograms.path("martlet"))
      let outcome = try await ChildProcess.run(
        "/usr/bin/nsenter", arguments: ["nsenter", "--net=\(path)/net", "sh", "-c", "cd \(path)\n\(script)"],
        environment: [
          "PATH=\(clients):\(martlet):/usr/sbin:/usr/bin:/sbin:/bin", "HOME=\(path)",
          "KUBECONFIG=\(path)/root/server/admin.kubeconfig",
        ], timeoutSeconds: 60)
      return CLINode.Answer(
        code: outcome.status.code, output: String(decoding: outcome.output, as: UTF8.self),
        errors: String(decoding: outcome.errorOutput, as: UTF8.self))
    }
  }

  /// Far from the 30 s that watches would go on; how soon it is in truth, `martlet-bench api` tells.
  private static let drainSecondsMax = 10

  @Test func aServerThatIsAskedToEndDoesSoSoonAndEndsItsWatchesProperly() async throws {
    let server = try await Server([])
    let begun = try await server.run(
      """
      for i in 1 2 3 4 5 6 7 8 9 10; do
        (curl -sSN --max-time 50 --unix-socket run/server.sock \
          'http://localhost/api/v1/namespaces/default/configmaps?watch=1' > watch.$i; echo $? > code.$i) > /dev/null 2>&1 &
      done
      for turn in $(seq 100); do
        [ "$(cat watch.* | grep -c ADDED)" -ge 10 ] && break; sleep 0.1
      done
      cat watch.* | grep -c ADDED
      """)
    #expect(begun.output == "10\n", "\(begun)")
    let asked = ContinuousClock.now
    try server.end()
    #expect(ContinuousClock.now - asked < .seconds(Self.drainSecondsMax))
    let codes = try await server.run(
      "for turn in $(seq 50); do [ $(ls code.* | wc -l) = 10 ] && break; sleep 0.1; done; cat code.* | sort -u")
    #expect(codes.output == "0\n", "no answer is cut off: \(codes)")
    try await server.stop()
  }

  private static let policy = """
    apiVersion: audit.k8s.io/v1
    kind: Policy
    omitStages: [RequestReceived]
    rules:
    - {level: None, users: ["system:apiserver"]}
    - {level: Metadata, resources: [{group: "", resources: [secrets]}]}
    - {level: Request, verbs: [create]}
    """

  @Test func secretsAreEncryptedAndRequestsWrittenDown() async throws {
    let options = ["--audit-policy-file", "DIR/policy.yaml", "--audit-log-path", "DIR/audit.log"]
    let server = try await Server(options, files: ["policy.yaml": Self.policy])
    let disk = "cat root/server/store.db root/server/store.db-wal | grep -c hunter"
    let made = try await server.run(
      "kubectl create secret generic s --from-literal=password=hunter2222222222 && kubectl create cm c && \(disk)")
    // Base64 of what begins with "hunter".
    let word = "aHVudGVy"
    #expect(made.errors.isEmpty && made.output.contains("secret/s created"), "\(made)")
    let grep = "cat root/server/store.db root/server/store.db-wal 2>/dev/null | grep -a -c \(word)"
    #expect(try await server.run(grep).output != "0\n")
    try await server.restart(options + ["--encrypt-secrets", "--rewrite-encrypted"])
    #expect(try await server.run(grep).output == "0\n")
    let read = try await server.run("kubectl get secret s -o 'jsonpath={.data.password}' | base64 -d")
    #expect(read.output == "hunter2222222222", "\(read)")
    // Without its keys the server says what is missing, and starts not.
    do {
      try await server.restart([])
      Issue.record("started without keys")
    } catch {
      #expect("\(error)".contains("cannot be decrypted"), "\(error)")
    }
    try await server.restart(options + ["--encrypt-secrets"])
    let log = try await server.run("cat audit.log")
    let events = log.output.split(separator: "\n").compactMap { try? JSONValue.parse(String($0)) }
    let secret = try #require(
      events.first { $0["verb"] == "create" && $0["objectRef"]?["resource"] == "secrets" }, "\(log.output)")
    #expect(secret["level"] == "Metadata" && secret["user"]?["username"] == "kubernetes-admin")
    #expect(secret["userAgent"]?.string?.hasPrefix("kubectl") == true && secret["sourceIPs"] == ["127.0.0.1"])
    #expect(!log.output.contains(word))
    #expect(events.contains { $0["objectRef"]?["resource"] == "configmaps" && $0["requestObject"] != nil })
    try await server.stop()
  }

  @Test func aMachineJoinsByATokenAndTheAuthoritysHash() async throws {
    let server = try await Server([])
    let made = try await server.run("martlet token create --description worker | tee join")
    #expect(made.output.hasPrefix("martlet join https://127.0.0.1:6443 --token "), "\(made)")
    let listed = try await server.run("martlet token list")
    #expect(listed.output.contains("worker"), "\(listed)")
    let place = "--node-name w1 --root node --node-address 192.0.2.9 --timeout 40"
    for (change, words) in [
      ("s/sha256:./sha256:x/", "the authority there is sha256:"), ("s/token ....../token aaaaaa/", "Unauthorized"),
    ] {
      let refused = try await server.run("eval \"$(sed '\(change)' join) \(place)\"")
      #expect(refused.code == 1 && refused.errors.contains(words), "\(refused)")
      #expect(!Files.exists("\(server.path)/node/node/w1.kubeconfig"))
    }
    let joined = try await server.run("eval \"$(cat join) \(place)\"")
    #expect(joined.code == 0 && joined.output.contains("credentials as node w1"), "\(joined)")
    for (user, file) in [("system:node:w1", "w1.kubeconfig"), ("system:kube-proxy:w1", "w1.proxy.kubeconfig")] {
      let who = try await server.run(
        "KUBECONFIG=node/node/\(file) kubectl auth whoami -o 'jsonpath={.status.userInfo.username}'")
      #expect(who.output == user, "\(who)")
    }
    let serving = try await server.run("openssl x509 -in node/node/w1.serving.pem -noout -ext subjectAltName")
    #expect(serving.output.contains("192.0.2.9") && serving.output.contains("DNS:w1"), "\(serving)")
    // Again by its own certificate, the token being gone.
    let renewed = try await server.run(
      """
      martlet token delete $(sed 's/.*--token \\([^ ]*\\).*/\\1/' join) &&
      martlet join https://127.0.0.1:6443 \(place) && kubectl get csr -o 'jsonpath={.items[*].spec.username}'
      """)
    #expect(renewed.code == 0 && renewed.output.contains("system:node:w1 "), "\(renewed)")
    let gone = try await server.run("eval \"$(cat join) \(place)\"")
    #expect(gone.errors.contains("Unauthorized"), "\(gone)")
    // A node may ask for no other node's certificate.
    let other = try await server.run(
      """
      openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout o.key -out o.csr \
        -subj /O=system:nodes/CN=system:node:w2 2>/dev/null
      printf '{"apiVersion":"certificates.k8s.io/v1","kind":"CertificateSigningRequest","metadata":{"name":"other"},"spec":{"request":"%s","signerName":"kubernetes.io/kube-apiserver-client-kubelet","usages":["client auth"]}}' "$(base64 -w 0 o.csr)" >o.json
      KUBECONFIG=node/node/w1.kubeconfig kubectl create -f o.json; sleep 2; kubectl get csr other -o 'jsonpath={.status}'
      """)
    #expect(other.output.contains("other created") && !other.output.contains("Approved"), "\(other)")
    try await server.stop()
  }
}
