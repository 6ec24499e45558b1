// swift-tools-version:6.2
import PackageDescription

// Every room of the house, lowest floor first. A room imports rooms of lower floors only, and on the pure floor
// those above it in this list; hack/check-imports holds Package.swift and the sources to that.

let strict: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .enableUpcomingFeature("ExistentialAny"), .enableUpcomingFeature("MemberImportVisibility"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
  .treatAllWarnings(as: .error),
]
let strictCode: [SwiftSetting] = strict + [.strictMemorySafety()]
let cFlags: [CSetting] = [
  .define("_GNU_SOURCE"),
  .unsafeFlags([
    "-std=c17", "-Wall", "-Wextra", "-Werror", "-Wvla", "-Wframe-larger-than=4096",
  ]),
]

/// Links a C program statically: the Swift driver that does the linking leaves its own runtime out in this mode only.
let staticC = ["-enable-experimental-feature", "Embedded", "-Xclang-linker", "-static"]

/// A library or executable of ours, and the products of other packages that it uses.
struct Room {
  enum Kind { case c, swift, generated, executable, cExecutable, test }
  var name: String
  var kind: Kind
  var uses: [String] = []
  var products: [Product] = []
  var links: [String] = []
}

/// A product of another package.
struct Product {
  var name: String
  var package: String
}

let swiftProtobuf = Product(name: "SwiftProtobuf", package: "swift-protobuf")
let grpcCore = Product(name: "GRPCCore", package: "grpc-swift-2")
let grpcProtobuf = Product(name: "GRPCProtobuf", package: "grpc-swift-protobuf")
let grpcTransport = Product(name: "GRPCNIOTransportHTTP2Posix", package: "grpc-swift-nio-transport")
let nioCore = Product(name: "NIOCore", package: "swift-nio")
let nioPosix = Product(name: "NIOPosix", package: "swift-nio")
let nioHTTP1 = Product(name: "NIOHTTP1", package: "swift-nio")
let nioHTTP2 = Product(name: "NIOHTTP2", package: "swift-nio-http2")
let nioWebSocket = Product(name: "NIOWebSocket", package: "swift-nio")
let nioSSL = Product(name: "NIOSSL", package: "swift-nio-ssl")
let httpClient = Product(name: "AsyncHTTPClient", package: "async-http-client")
let x509 = Product(name: "X509", package: "swift-certificates")
let asn1 = Product(name: "SwiftASN1", package: "swift-asn1")
let crypto = Product(name: "Crypto", package: "swift-crypto")
let argumentParser = Product(name: "ArgumentParser", package: "swift-argument-parser")
let logging = Product(name: "Logging", package: "swift-log")

let rooms: [Room] = [
  // Floor 0: C.
  Room(name: "CLinux", kind: .c),
  Room(name: "CSandbox", kind: .c),
  Room(name: "CSecurity", kind: .c, links: ["seccomp", "cap"]),
  Room(name: "CNetlink", kind: .c, links: ["nftnl", "mnl"]),
  Room(name: "CArchive", kind: .c, links: ["archive", "zstd", "isal"]),
  Room(name: "CSQLite", kind: .c, links: ["sqlite3"]),
  Room(name: "CZlib", kind: .c, links: ["z"]),
  Room(name: "CYAML", kind: .c, links: ["yaml"]),
  // For tests of the store alone.
  Room(name: "CPowerLoss", kind: .c, links: ["sqlite3"]),
  Room(name: "martlet-shim", kind: .cExecutable, uses: ["CSandbox"]),
  Room(name: "martlet-floor", kind: .cExecutable),
  // Floor 1: the kernel.
  Room(name: "Kernel", kind: .swift, uses: ["CLinux", "CSandbox", "CSecurity", "CNetlink", "CArchive", "CZlib"]),
  Room(name: "SQLite", kind: .swift, uses: ["CSQLite"]),
  // Floor 2: pure.
  Room(name: "JSON", kind: .swift),
  Room(name: "OCISpec", kind: .swift, uses: ["JSON"]),
  Room(name: "ContainerPlan", kind: .swift, uses: ["JSON", "OCISpec"]),
  Room(name: "NFT", kind: .swift),
  Room(name: "YAML", kind: .swift, uses: ["JSON", "CYAML"]),
  Room(name: "TOML", kind: .swift, uses: ["JSON"]),
  Room(name: "Metrics", kind: .swift),
  Room(name: "DaemonConfiguration", kind: .swift, uses: ["JSON", "TOML"]),
  Room(name: "LinearPattern", kind: .swift),
  Room(name: "CEL", kind: .swift, uses: ["JSON", "LinearPattern"]),
  Room(name: "KubeSchema", kind: .swift, uses: ["JSON", "LinearPattern", "CEL"]),
  Room(name: "KubeModel", kind: .swift, uses: ["JSON", "KubeSchema"]),
  Room(name: "KubeValidation", kind: .swift, uses: ["JSON", "LinearPattern", "CEL", "KubeSchema", "KubeModel"]),
  Room(name: "KubePresentation", kind: .swift, uses: ["JSON", "KubeSchema", "KubeModel"]),
  Room(name: "CRIModel", kind: .generated, products: [swiftProtobuf]),
  Room(name: "DNSMessage", kind: .swift),
  Room(name: "PodTranslation", kind: .swift, uses: ["JSON", "KubeModel", "CRIModel"], products: [swiftProtobuf]),
  // Floor 3: engines and network clients.
  Room(name: "PodRuntime", kind: .swift, uses: ["Kernel", "JSON", "OCISpec", "ContainerPlan"], products: [logging]),
  Room(name: "ImageStore", kind: .swift, uses: ["Kernel", "JSON", "OCISpec"], products: [logging]),
  Room(name: "PodNetwork", kind: .swift, uses: ["Kernel", "JSON", "NFT"], products: [logging]),
  Room(name: "CNI", kind: .swift, uses: ["Kernel", "JSON"], products: [logging]),
  Room(name: "Volumes", kind: .swift, uses: ["Kernel", "JSON"], products: [logging]),
  Room(name: "Dataplane", kind: .swift, uses: ["Kernel", "NFT"], products: [logging]),
  Room(
    name: "Registry", kind: .swift, uses: ["Kernel", "JSON", "OCISpec", "TOML"],
    products: [httpClient, nioCore, nioHTTP1, nioSSL, logging]),
  Room(
    name: "CRIClient", kind: .generated, uses: ["JSON", "CRIModel"],
    products: [swiftProtobuf, grpcCore, grpcProtobuf, grpcTransport, nioCore, nioPosix, nioHTTP1, nioWebSocket]),
  Room(name: "Systemd", kind: .swift, uses: ["Kernel"]),
  Room(name: "ObjectStore", kind: .swift, uses: ["Kernel", "SQLite"], products: [logging]),
  Room(
    name: "EtcdStore", kind: .generated, uses: ["Kernel", "ObjectStore"],
    products: [swiftProtobuf, grpcCore, grpcProtobuf, grpcTransport, nioCore, nioSSL, logging]),
  Room(
    name: "PKI", kind: .swift, uses: ["Kernel", "JSON", "YAML"], products: [x509, asn1, crypto]),
  Room(
    name: "HTTPServer", kind: .swift, uses: ["Kernel"],
    products: [nioCore, nioPosix, nioHTTP1, nioHTTP2, nioSSL, logging]),
  Room(
    name: "KubeClient", kind: .swift, uses: ["Kernel", "JSON", "YAML", "KubeModel"],
    products: [httpClient, nioCore, nioPosix, nioHTTP1, nioSSL, logging]),
  // Floor 4: services.
  Room(
    name: "CRIServer", kind: .generated,
    uses: [
      "Kernel", "JSON", "OCISpec", "ContainerPlan", "CRIModel", "YAML", "PodRuntime", "ImageStore", "PodNetwork",
      "Registry",
    ],
    products: [swiftProtobuf, grpcCore, grpcProtobuf, grpcTransport, nioCore, nioPosix, logging]),
  Room(
    name: "Streaming", kind: .swift, uses: ["Kernel", "JSON"],
    products: [nioCore, nioPosix, nioHTTP1, nioWebSocket, logging]),
  Room(
    name: "NodeAgent", kind: .swift,
    uses: [
      "Kernel", "JSON", "YAML", "KubeSchema", "KubeModel", "CRIModel", "PodTranslation", "Volumes", "CRIClient",
      "KubeClient", "HTTPServer", "Metrics",
    ],
    products: [swiftProtobuf, grpcCore, nioCore, nioPosix, nioSSL, logging]),
  Room(
    name: "ClusterDNS", kind: .swift, uses: ["Kernel", "KubeModel", "KubeClient", "DNSMessage"],
    products: [nioCore, nioPosix, logging]),
  Room(
    name: "ServiceProxy", kind: .swift,
    uses: ["Kernel", "JSON", "YAML", "Metrics", "KubeModel", "KubeClient", "Dataplane", "HTTPServer"],
    products: [logging]),
  Room(
    name: "NetworkPolicies", kind: .swift, uses: ["Kernel", "KubeModel", "KubeClient", "Dataplane"],
    products: [logging]),
  Room(
    name: "APIServer", kind: .swift,
    uses: [
      "Kernel", "JSON", "YAML", "CEL", "KubeSchema", "KubeModel", "KubeValidation", "KubePresentation", "ObjectStore",
      "PKI", "HTTPServer",
    ],
    products: [nioCore, logging]),
  Room(name: "Scheduler", kind: .swift, uses: ["Kernel", "JSON", "KubeModel", "KubeClient"], products: [logging]),
  Room(name: "Controllers", kind: .swift, uses: ["Kernel", "JSON", "KubeModel", "KubeClient"], products: [logging]),
  // Floor 5: executables.
  Room(
    name: "martletd", kind: .executable,
    uses: [
      "Kernel", "JSON", "OCISpec", "CRIServer", "Streaming", "PodRuntime", "ImageStore", "PodNetwork", "CNI", "Systemd",
      "Registry", "HTTPServer", "Metrics", "DaemonConfiguration",
    ],
    products: [argumentParser, grpcCore, logging]),
  Room(
    name: "martlet", kind: .executable,
    uses: [
      "Kernel", "JSON", "NFT", "YAML", "KubeSchema", "KubeModel", "CRIModel", "CRIClient", "KubeClient", "NodeAgent",
      "ClusterDNS", "ServiceProxy", "NetworkPolicies", "Dataplane", "PodNetwork", "Volumes", "APIServer", "Scheduler",
      "Controllers",
      "ObjectStore",
      "EtcdStore",
      "PKI",
      "HTTPServer",
    ],
    products: [argumentParser, grpcCore, swiftProtobuf, logging]),
  Room(
    name: "martlet-bench", kind: .executable,
    uses: [
      "Kernel", "JSON", "OCISpec", "ContainerPlan", "CRIModel", "CRIClient", "PodRuntime", "ImageStore", "KubeModel",
      "KubeClient", "Dataplane", "NFT", "Scheduler",
    ],
    products: [argumentParser, swiftProtobuf, logging, nioCore, nioPosix, nioHTTP2, nioSSL]),
  // Tests, one target a room, and those that need root or drive the built programs.
  Room(name: "TestSupport", kind: .swift, uses: ["Kernel", "JSON"]),
  Room(name: "SystemdTests", kind: .test, uses: ["Systemd", "Kernel", "TestSupport"]),
  Room(name: "KernelTests", kind: .test, uses: ["Kernel", "TestSupport"]),
  Room(name: "JSONTests", kind: .test, uses: ["JSON", "TestSupport"]),
  Room(name: "OCISpecTests", kind: .test, uses: ["OCISpec", "JSON", "TestSupport"]),
  Room(
    name: "ContainerPlanTests", kind: .test,
    uses: ["ContainerPlan", "OCISpec", "JSON", "CSandbox", "Kernel", "TestSupport"]),
  Room(name: "NFTTests", kind: .test, uses: ["NFT", "TestSupport"]),
  Room(name: "YAMLTests", kind: .test, uses: ["YAML", "JSON", "TestSupport"]),
  Room(name: "TOMLTests", kind: .test, uses: ["TOML", "JSON", "Kernel", "TestSupport"]),
  Room(name: "MetricsTests", kind: .test, uses: ["Metrics", "TestSupport"]),
  Room(
    name: "DaemonConfigurationTests", kind: .test, uses: ["DaemonConfiguration", "Kernel", "TestSupport"]),
  Room(name: "LinearPatternTests", kind: .test, uses: ["LinearPattern", "JSON", "TestSupport"]),
  Room(name: "CELTests", kind: .test, uses: ["CEL", "JSON", "TestSupport"]),
  Room(name: "KubeSchemaTests", kind: .test, uses: ["KubeSchema", "CEL", "JSON", "TestSupport"]),
  Room(
    name: "KubeValidationTests", kind: .test,
    uses: ["KubeValidation", "KubeSchema", "KubeModel", "JSON", "YAML", "TestSupport"]),
  Room(
    name: "KubePresentationTests", kind: .test,
    uses: ["KubePresentation", "KubeSchema", "KubeModel", "JSON", "YAML", "TestSupport"]),
  Room(
    name: "ObjectStoreTests", kind: .test,
    uses: ["ObjectStore", "EtcdStore", "SQLite", "CPowerLoss", "Kernel", "TestSupport"]),
  Room(
    name: "EtcdStoreTests", kind: .test, uses: ["EtcdStore", "ObjectStore", "Kernel", "TestSupport"],
    products: [swiftProtobuf]),
  Room(
    name: "PKITests", kind: .test, uses: ["PKI", "JSON", "YAML", "Kernel", "TestSupport"],
    products: [x509, asn1, crypto]),
  Room(
    name: "HTTPServerTests", kind: .test, uses: ["HTTPServer", "PKI", "Kernel", "TestSupport"],
    products: [nioCore, nioPosix, logging]),
  Room(
    name: "KubeClientTests", kind: .test,
    uses: ["KubeClient", "HTTPServer", "PKI", "KubeModel", "JSON", "Kernel", "TestSupport"],
    products: [logging]),
  Room(
    name: "APIServerTests", kind: .test,
    uses: [
      "APIServer", "HTTPServer", "ObjectStore", "PKI", "KubeModel", "KubeSchema", "JSON", "YAML", "Kernel",
      "TestSupport",
    ], products: [nioCore, logging]),
  Room(
    name: "SchedulerTests", kind: .test, uses: ["Scheduler", "KubeClient", "KubeModel", "JSON", "TestSupport"],
    products: [logging]),
  Room(
    name: "ControllersTests", kind: .test,
    uses: ["Controllers", "Kernel", "KubeClient", "KubeModel", "JSON", "TestSupport"]),
  Room(name: "KubeModelTests", kind: .test, uses: ["KubeModel", "JSON", "TestSupport"]),
  Room(
    name: "PodTranslationTests", kind: .test, uses: ["PodTranslation", "KubeModel", "CRIModel", "JSON", "TestSupport"]),
  Room(
    name: "PodRuntimeTests", kind: .test,
    uses: ["PodRuntime", "ContainerPlan", "OCISpec", "JSON", "Kernel", "TestSupport"]),
  Room(name: "ImageStoreTests", kind: .test, uses: ["ImageStore", "OCISpec", "JSON", "Kernel", "TestSupport"]),
  Room(
    name: "PodNetworkTests", kind: .test, uses: ["PodNetwork", "NFT", "Kernel", "TestSupport"], products: [logging]),
  Room(name: "CNITests", kind: .test, uses: ["CNI", "JSON", "Kernel", "TestSupport"], products: [logging]),
  Room(name: "VolumesTests", kind: .test, uses: ["Volumes", "Kernel", "TestSupport"]),
  Room(
    name: "DataplaneTests", kind: .test, uses: ["Dataplane", "PodNetwork", "NFT", "Kernel", "TestSupport"],
    products: [logging]),
  Room(
    name: "RegistryTests", kind: .test, uses: ["Registry", "ImageStore", "OCISpec", "JSON", "Kernel", "TestSupport"],
    products: [nioCore, nioPosix, nioHTTP1]),
  Room(
    name: "CRIServerTests", kind: .test,
    uses: ["CRIServer", "PodRuntime", "ContainerPlan", "CRIModel", "OCISpec", "TestSupport"],
    products: [grpcCore, swiftProtobuf]),
  Room(
    name: "StreamingTests", kind: .test, uses: ["Streaming", "CRIClient", "Kernel", "TestSupport"],
    products: [nioCore, nioPosix, logging]),
  Room(
    name: "MartletTests", kind: .test,
    uses: ["martlet", "JSON", "NFT", "YAML", "CRIClient", "CRIModel", "Kernel", "TestSupport"],
    products: [swiftProtobuf]),
  Room(
    name: "NodeAgentTests", kind: .test,
    uses: [
      "NodeAgent", "PodTranslation", "KubeModel", "KubeClient", "HTTPServer", "PKI", "CRIModel", "CRIClient", "Volumes",
      "Kernel",
      "JSON", "TestSupport",
    ],
    products: [swiftProtobuf, logging]),
  Room(name: "DNSMessageTests", kind: .test, uses: ["DNSMessage", "TestSupport"]),
  Room(
    name: "ClusterDNSTests", kind: .test,
    uses: ["ClusterDNS", "DNSMessage", "KubeModel", "KubeClient", "Kernel", "TestSupport"],
    products: [nioCore, nioPosix, logging]),
  Room(
    name: "ServiceProxyTests", kind: .test,
    uses: [
      "ServiceProxy", "KubeModel", "KubeClient", "Dataplane", "HTTPServer", "Metrics", "JSON", "YAML", "Kernel",
      "TestSupport",
    ], products: [logging]),
  Room(
    name: "NetworkPoliciesTests", kind: .test,
    uses: ["NetworkPolicies", "KubeModel", "KubeClient", "Dataplane", "JSON", "YAML", "Kernel", "TestSupport"],
    products: [logging]),
  Room(
    name: "ConformanceTests", kind: .test, uses: ["CRIClient", "CRIModel", "JSON", "Kernel", "TestSupport"],
    products: [grpcCore, swiftProtobuf]),
]

// MARTLET_ROOMS=Dataplane,NFTTests builds those rooms and what they use, without the packages that they do not need.
let wanted: Set<String> = {
  guard let only = Context.environment["MARTLET_ROOMS"] else { return Set(rooms.map(\.name)) }
  var found: Set<String> = []
  var open = only.split(separator: ",").map(String.init)
  while let name = open.popLast() {
    guard found.insert(name).inserted else { continue }
    guard let room = rooms.first(where: { $0.name == name }) else { fatalError("MARTLET_ROOMS: no room \(name)") }
    open += room.uses
  }
  return found
}()
let built = rooms.filter { wanted.contains($0.name) }

func target(_ room: Room) -> Target {
  let uses: [Target.Dependency] =
    room.uses.map { .target(name: $0) } + room.products.map { .product(name: $0.name, package: $0.package) }
  let links: [LinkerSetting] = room.links.map { .linkedLibrary($0) }
  switch room.kind {
  case .c:
    return .target(name: room.name, path: "CShims/\(room.name)", cSettings: cFlags, linkerSettings: links)
  case .cExecutable:
    return .executableTarget(
      name: room.name, dependencies: uses, path: "CShims/\(room.name.dropFirst("martlet-".count))", cSettings: cFlags,
      linkerSettings: [.unsafeFlags(staticC)])
  case .swift:
    let path = room.name == "TestSupport" ? "Tests/TestSupport" : "Sources/\(room.name)"
    return .target(
      name: room.name, dependencies: uses, path: path, exclude: protocolSources(room.name),
      swiftSettings: room.name == "TestSupport" ? strict : strictCode)
  case .generated:
    return .target(
      name: room.name, dependencies: uses, path: "Sources/\(room.name)", exclude: protocolSources(room.name),
      swiftSettings: strict)
  case .executable:
    return .executableTarget(
      name: room.name, dependencies: uses, path: "Sources/\(room.name)", swiftSettings: strictCode)
  case .test:
    return .testTarget(
      name: room.name, dependencies: uses, path: "Tests/\(room.name)",
      exclude: goldenFiles(room.name), swiftSettings: strict)
  }
}

/// Golden files lie beside the tests that read them.
func goldenFiles(_ room: String) -> [String] {
  let rooms = [
    "CNITests", "CRIServerTests", "ContainerPlanTests", "DaemonConfigurationTests", "DataplaneTests",
    "KubePresentationTests", "LinearPatternTests", "MartletTests", "MetricsTests", "NFTTests", "PodNetworkTests",
    "PodTranslationTests", "SystemdTests", "YAMLTests",
  ]
  return rooms.contains(room) ? ["Golden"] : []
}

/// The `.proto` files and the tables lie beside what is generated from them.
func protocolSources(_ room: String) -> [String] {
  switch room {
  case "CRIModel", "EtcdStore": ["Protocols"]
  case "KubeSchema": ["Schema"]
  default: []
  }
}

let packages: [(name: String, dependency: Package.Dependency)] = [
  ("swift-protobuf", .package(url: "https://github.com/apple/swift-protobuf.git", exact: "1.39.0", traits: [])),
  ("grpc-swift-2", .package(url: "https://github.com/grpc/grpc-swift-2.git", exact: "2.4.3")),
  ("grpc-swift-nio-transport", .package(url: "https://github.com/grpc/grpc-swift-nio-transport.git", exact: "2.9.2")),
  ("grpc-swift-protobuf", .package(url: "https://github.com/grpc/grpc-swift-protobuf.git", exact: "2.4.1")),
  ("swift-nio", .package(url: "https://github.com/apple/swift-nio.git", exact: "2.101.2")),
  ("swift-nio-ssl", .package(url: "https://github.com/apple/swift-nio-ssl.git", exact: "2.37.6")),
  ("swift-nio-http2", .package(url: "https://github.com/apple/swift-nio-http2.git", exact: "1.46.0")),
  ("swift-certificates", .package(url: "https://github.com/apple/swift-certificates.git", exact: "1.21.1")),
  ("swift-asn1", .package(url: "https://github.com/apple/swift-asn1.git", exact: "1.7.4")),
  ("swift-crypto", .package(url: "https://github.com/apple/swift-crypto.git", exact: "4.5.2")),
  ("async-http-client", .package(url: "https://github.com/swift-server/async-http-client.git", exact: "1.37.0")),
  ("swift-argument-parser", .package(url: "https://github.com/apple/swift-argument-parser.git", exact: "1.8.2")),
  ("swift-log", .package(url: "https://github.com/apple/swift-log.git", exact: "1.16.2")),
]
let usedPackages = Set(built.flatMap { $0.products.map(\.package) })

let package = Package(
  name: "martlet",
  dependencies: packages.filter { usedPackages.contains($0.name) }.map(\.dependency),
  targets: built.map(target),
  cLanguageStandard: .c17
)
