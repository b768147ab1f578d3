//! An owner that stands still while others take its sources over, and wakes (DESIGN §5.3, "Fencing", "Two owners end").

use rustix::process::Signal;

use crate::{
    harness::{Cluster, Web, until},
    lines::{SOURCES, all_arrive, all_is_well, apply, most_often, write},
};

#[tokio::test]
async fn an_owner_that_wakes_after_its_sources_were_taken_over_gives_way() {
    let cluster = Cluster::start(5).await;
    let web = Web::start().await;
    write(&web, 0..200);
    apply(&cluster, 3, &web);
    let owners = cluster.owners(0, "web", SOURCES).await;
    all_arrive(&cluster, 200).await;

    let zombie = owners["s0"];
    let name = cluster.nodes[zombie].name.clone();
    let asked = (zombie + 1) % cluster.nodes.len();
    write(&web, 200..250);
    cluster.nodes[zombie].signal(Signal::STOP);
    write(&web, 250..400);
    until("all of its sources are with others", async || {
        let page = cluster.nodes[asked].get("/v1/sources?runner=web&limit=1000").await?;
        let rows = page["items"].as_array()?;
        rows.iter().all(|row| row["state"] == "collected" && row["owner_name"] != name.as_str()).then_some(())
    })
    .await;
    all_arrive(&cluster, 400).await;
    let row = cluster.nodes[asked].get("/v1/sources/web/s0").await.expect("it answers");
    assert_eq!(row["why"], format!("took over from {name}"));

    cluster.nodes[zombie].signal(Signal::CONT);
    cluster.all_see_all().await;
    write(&web, 400..500);
    all_arrive(&cluster, 500).await;
    all_is_well(&cluster).await;
    // Once by each of its owners at most: the one that stood still, who took it over, and the one that stood still again as it went home.
    assert!(most_often(&cluster) <= 3, "a line came {} times", most_often(&cluster));
}
